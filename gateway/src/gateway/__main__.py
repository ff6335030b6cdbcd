"""`python -m gateway`: serves the public port and the one for operations until it is told to stop."""

import uvloop

from gateway.app import applications
from gateway.settings import Settings
from servicekit.http import serve
from servicekit.logs import configure_logs
from servicekit.settings import load_settings


async def run(settings: Settings) -> None:
    async with applications(settings) as (public, operations):
        await serve(
            (public, settings.host, settings.port),
            (operations, settings.host, settings.ops_port),
        )


def main() -> None:
    settings = load_settings(Settings)
    configure_logs("gateway", settings.log_level)
    uvloop.run(run(settings))


if __name__ == "__main__":
    main()
