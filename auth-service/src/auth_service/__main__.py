"""`python -m auth_service`: serve | migrate | restored | clients … | keys … | sessions … | throttles …"""

import asyncio

import uvloop

from auth_service.app import create_app
from auth_service.commands import clients, keys, sessions, throttles
from auth_service.commands.restored import restored
from auth_service.migrations import DIRECTORY
from auth_service.settings import DatabaseSettings, Settings
from servicekit import migrations, serving
from servicekit.command_line import command_group, with_version
from servicekit.logs import configure_logs
from servicekit.settings import load_settings

app = command_group("Parley's token service.")
app.add_typer(clients.app, name="clients")
app.add_typer(keys.app, name="keys")
app.add_typer(sessions.app, name="sessions")
app.add_typer(throttles.app, name="throttles")
app.command()(restored)


@app.command()
def serve() -> None:
    """Serve until SIGINT or SIGTERM."""
    settings = load_settings(Settings)
    configure_logs("auth-service", settings.log_level)
    uvloop.run(serving.serve((create_app(settings), settings.host, settings.port)))


@app.command()
def migrate() -> None:
    """Migrate the database to the newest schema."""
    settings = load_settings(DatabaseSettings)
    try:
        asyncio.run(migrations.migrate(settings.database_url, DIRECTORY))
    except OSError as error:
        raise SystemExit(f"the database cannot be reached: {error.strerror or type(error).__name__}") from None


cli = with_version(app, "auth-service")

if __name__ == "__main__":
    cli(prog_name="python -m auth_service")
