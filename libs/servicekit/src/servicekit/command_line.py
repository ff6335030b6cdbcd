"""The common parts of the command lines: `--version`, a line of standard input, and tables that never cut an id."""

import sys
from collections.abc import Container, Sequence
from typing import Annotated, Any

import typer
from rich.cells import cell_len
from rich.console import Console
from rich.table import Column, Table

from servicekit import __version__

_NARROWEST = 18  # cells; columns may be folded to this width, except those of ids
_ENDLESS = 1_000_000


def command_group(described: str) -> typer.Typer:
    """A group of commands. Their help is plain text, because a table in a narrow terminal cuts the names of options."""
    return typer.Typer(
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        help=described,
    )


def line_from_stdin(what: str) -> str:
    """The first line of standard input. If it is not UTF-8, exits with one line that names `what`."""
    try:
        return sys.stdin.buffer.readline().decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise SystemExit(f"{what} is not UTF-8") from None


def with_version(cli: typer.Typer, service: str) -> Any:
    """The command to run; it and each of its subcommands have the option `--version`."""

    def show(asked: bool) -> None:
        if asked:
            typer.echo(f"{service} {__version__}")
            raise typer.Exit

    @cli.callback()
    def main(
        version: Annotated[
            bool,
            typer.Option(
                "--version", callback=show, is_eager=True, expose_value=False, help="Show the version and exit."
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
    """Print rows under the names of their columns; texts are printed unchanged.

    Operators copy the cells of the columns `ids` into other commands, so these are never wrapped, even if the table
    becomes wider than the terminal. If the output is not a terminal, each row is one line.
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
