"""`keys …`: signing keys."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, Any

import typer

from auth_service.app import SIGNED_DIALECTS
from auth_service.backends.signing_keys import ACCESS, LEAST_PUBLISH_SECONDS, RELOAD_SECONDS, SigningKeys
from auth_service.commands.output import Json, fail, print_json, run, show
from servicekit.command_line import command_group
from servicekit.internal_tokens import REFRESH

ALGORITHMS = tuple(SIGNED_DIALECTS)

app = command_group("Signing keys: pending, active, retiring, gone.")


@app.command("list")
def list_keys(as_json: Json = False) -> None:
    """List all keys that exist."""
    rows = run(lambda database, keyring, _: SigningKeys(database, keyring, SIGNED_DIALECTS).all())
    show(rows, ("kid", "algorithm", "purpose", "status", "created_at", "activates_at", "gone_at"), as_json)


@app.command()
def rotate(
    algorithm: Annotated[list[str] | None, typer.Option(help=f"{', '.join(ALGORITHMS)}; default: all.")] = None,
    now: Annotated[
        bool,
        typer.Option("--now", help="Sign with it as soon as every replica knows it, and wait until all replicas do."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Publish a new key; it signs after AUTH_KEY_PUBLISH_SECONDS. The old one verifies until its tokens expire.

    ES256 has two keys, one for access tokens and one for internal tokens, and both are replaced.
    """
    chosen = algorithm or list(ALGORITHMS)
    if set(chosen) - set(ALGORITHMS):
        raise fail(f"the algorithm must be one of {', '.join(ALGORITHMS)}")

    async def work(database: Any, keyring: Any, settings: Any) -> dict[str, str | None]:
        keys = SigningKeys(database, keyring, SIGNED_DIALECTS)
        publish_for = timedelta(seconds=LEAST_PUBLISH_SECONDS if now else settings.key_publish_seconds)
        kinds = [(algorithm, purpose) for algorithm in chosen for purpose in keys.purposes(algorithm)]
        if not now:
            return {_name(*kind): await keys.rotate(kind[0], publish_for, kind[1]) for kind in kinds}
        hastened = {_name(*kind): await keys.rotate_soon(kind[0], publish_for, kind[1]) for kind in kinds}
        await _wait_until_they_sign(keys, list(hastened.values()))
        return dict(hastened)

    made = run(work)
    if as_json:
        print_json(made)
    else:
        for name, kid in made.items():
            typer.echo(f"{name}: {kid or 'a key is pending already'}")


@app.command(context_settings={"ignore_unknown_options": True})  # a kid may begin with a hyphen
def remove(kids: Annotated[list[str], typer.Argument(metavar="KID...", help="As in `keys list`.")]) -> None:
    """Remove leaked keys: tokens that they signed are no longer accepted. Replace an active key first."""

    async def work(database: Any, keyring: Any, _: Any) -> list[str]:
        keys = SigningKeys(database, keyring, SIGNED_DIALECTS)
        left = [kid for kid in kids if not await keys.remove(kid)]
        if len(left) < len(kids):
            seconds = 2 * RELOAD_SECONDS + REFRESH
            typer.echo(f"removed; in {seconds:g} seconds no service accepts tokens that they signed", err=True)
            await asyncio.sleep(seconds)
        return left

    left = run(work)
    if left:
        raise fail(
            f"not removed: {', '.join(left)}. There is no such key, or it is active: run `keys rotate --now` first"
        )


def _name(algorithm: str, purpose: str) -> str:
    return algorithm if purpose == ACCESS else f"{algorithm} {purpose}"


async def _wait_until_they_sign(keys: SigningKeys, kids: Sequence[str]) -> None:
    """Wait until the keys are active and every running replica signs with them; report progress on standard error."""
    typer.echo(f"published; every replica knows the new keys in {LEAST_PUBLISH_SECONDS} seconds", err=True)
    while not await keys.have_begun(kids):  # noqa: ASYNC110 - any replica may activate them
        await asyncio.sleep(0.5)
    seconds = 2 * RELOAD_SECONDS
    typer.echo(f"the new keys are active; every replica signs with them in {seconds:g} seconds", err=True)
    await asyncio.sleep(seconds)
    typer.echo("every replica signs with the new keys", err=True)
