"""`keys …`: signing keys."""

from datetime import timedelta
from typing import Annotated, Any

import typer

from auth_service.app import SIGNED_DIALECTS
from auth_service.backends.signing_keys import SigningKeys
from auth_service.commands.output import Json, fail, print_json, run, show

ALGORITHMS = tuple(SIGNED_DIALECTS)

app = typer.Typer(no_args_is_help=True, help="Signing keys: pending, active, retiring, gone.")


@app.command("list")
def list_keys(as_json: Json = False) -> None:
    """Every key that is about."""
    rows = run(lambda database, keyring, _: SigningKeys(database, keyring, SIGNED_DIALECTS).all())
    show(rows, ("kid", "algorithm", "status", "created_at", "activates_at", "gone_at"), as_json)


@app.command()
def rotate(
    algorithm: Annotated[list[str] | None, typer.Option(help=f"{', '.join(ALGORITHMS)}; default: all.")] = None,
    now: Annotated[bool, typer.Option("--now", help="Sign with it at once, before verifiers have seen it.")] = False,
    as_json: Json = False,
) -> None:
    """Publish a new key; it signs after AUTH_KEY_PUBLISH_SECONDS. The old one verifies until its tokens are over."""
    chosen = algorithm or list(ALGORITHMS)
    if set(chosen) - set(ALGORITHMS):
        raise fail(f"the algorithm must be one of {', '.join(ALGORITHMS)}")

    async def work(database: Any, keyring: Any, settings: Any) -> dict[str, str | None]:
        keys = SigningKeys(database, keyring, SIGNED_DIALECTS)
        publish_for = timedelta(seconds=0 if now else settings.key_publish_seconds)
        made = {name: await keys.rotate(name, publish_for) for name in chosen}
        await keys.advance()
        return made

    made = run(work)
    if as_json:
        print_json(made)
    else:
        for name, kid in made.items():
            typer.echo(f"{name}: {kid or 'a key is pending already'}")
