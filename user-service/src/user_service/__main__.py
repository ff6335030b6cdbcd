"""`python -m user_service`: serve | migrate | restored | users …"""

import asyncio

import uvloop

from servicekit import migrations, serving
from servicekit.command_line import command_group, with_version
from servicekit.logs import configure_logs
from servicekit.settings import load_settings
from user_service import commands
from user_service.app import MIGRATIONS, create_app
from user_service.settings import DatabaseSettings, Settings

app = command_group("Parley's user service.")
app.add_typer(commands.users, name="users")
app.command()(commands.restored)


@app.command()
def serve() -> None:
    """Serve the user API until SIGINT or SIGTERM."""
    settings = load_settings(Settings)
    configure_logs("user-service", settings.log_level)
    uvloop.run(serving.serve((create_app(settings), settings.host, settings.port)))


@app.command()
def migrate() -> None:
    """Migrate the database to the newest schema."""
    settings = load_settings(DatabaseSettings)
    try:
        asyncio.run(migrations.migrate(settings.database_url, MIGRATIONS))
    except OSError as error:
        raise SystemExit(f"the database cannot be reached: {error.strerror or type(error).__name__}") from None


cli = with_version(app, "user-service")

if __name__ == "__main__":
    cli(prog_name="python -m user_service")
