"""`python -m gateway`: serves the public port and the operations port until SIGINT or SIGTERM."""

import argparse

import uvloop

from gateway.serving import allow_open_files, serve
from gateway.settings import Settings
from servicekit import __version__
from servicekit.logs import configure_logs
from servicekit.settings import load_settings


def main() -> None:
    _answer_options()
    settings = load_settings(Settings)
    configure_logs("gateway", settings.log_level)
    allow_open_files()
    uvloop.run(serve(settings))


def _answer_options() -> None:
    """Answer `--help` and `--version`, and exit with an error for any other argument."""
    parser = argparse.ArgumentParser(
        prog="python -m gateway",
        description="Serve Parley's public port and the operations port until SIGINT or SIGTERM.",
        epilog="All settings are GATEWAY_… variables: see docs/handbook/configure.md.",
    )
    parser.add_argument("--version", action="version", version=f"gateway {__version__}")
    parser.parse_args()


if __name__ == "__main__":
    main()
