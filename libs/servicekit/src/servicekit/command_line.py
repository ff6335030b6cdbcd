"""Common to the services' command lines: `--version`, a line of standard input, and tables in which no id is cut."""

import sys
from collections.abc import Container, Sequence
from typing import Annotated, Any

import typer
from rich.cells import cell_len
from rich.console import Console
from rich.table import Column, Table

from servicekit import __version__

_NARROWEST = 18  # cells that a column may be folded to, other than one of ids
_ENDLESS = 1_000_000


def command_group(described: str) -> typer.Typer:
    """Commands under one name. Their help is plain text: in a narrow terminal a table cuts the names of options."""
    return typer.Typer(
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        help=described,
    )


def line_from_stdin(what: str) -> str:
    """The first line of standard input. Leaves the process with one line that names `what` where it is not UTF-8."""
    try:
        return sys.stdin.buffer.readline().decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise SystemExit(f"{what} is not UTF-8") from None


def with_version(cli: typer.Typer, service: str) -> Any:
    """The command to run, which answers `--version`, as each of its subcommands does."""

    def show(asked: bool) -> None:
        if asked:
            typer.echo(f"{service} {__version__}")
            raise typer.Exit

    @cli.callback()
    def main(
        version: Annotated[
            bool,
            typer.Option(
                "--version", callback=show, is_eager=True, expose_value=False, help="Show the version and end."
            ),
        ] = False,
    ) -> None: ...

    command: Any = typer.main.get_command(cli)
    option = next(option for option in command.params if option.name == "version")
    _add_option(command, option)
    return command


def _add_option(command: Any, option: Any) -> None:
    for subcommand in getattr(command, "commands", {}).values():
        subcommand.params.append(option)
        _add_option(subcommand, option)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], ids: Container[str]) -> None:
    """Print rows under the names of their columns; the texts are printed as they are.

    The cells of the columns `ids` are copied into other commands and stay in one piece, even if that makes the table
    wider than the terminal. Where the output is not a terminal, each row is one line.
    """
    table = Table(*(Column(name.replace("_", " "), overflow="fold", no_wrap=name in ids) for name in columns))
    for row in rows:
        table.add_row(*row)
    console = Console(markup=False, emoji=False)  # ids and names are text, not markup
    if console.is_terminal:
        widths = [max(map(cell_len, cells)) for cells in zip(columns, *rows, strict=True)]
        least = (width if name in ids else min(width, _NARROWEST) for name, width in zip(columns, widths, strict=True))
        console.width = max(console.width, sum(least) + 3 * len(columns) + 1)
    else:
        console.width = _ENDLESS
    console.print(table)
