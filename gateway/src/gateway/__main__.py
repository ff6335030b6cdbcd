"""`python -m gateway`: serves the public port and the one for operations until it is told to stop."""

import uvloop

from gateway.serving import allow_open_files, serve
from gateway.settings import Settings
from servicekit.logs import configure_logs
from servicekit.settings import load_settings


def main() -> None:
    settings = load_settings(Settings)
    configure_logs("gateway", settings.log_level)
    allow_open_files()
    uvloop.run(serve(settings))


if __name__ == "__main__":
    main()
