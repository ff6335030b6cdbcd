"""After a restore from a backup, user-service sends auth-service later epochs than any that it sent before."""

import asyncio
import time
from typing import Any

from user_service.app import ACCOUNTS

from .test_commands import Run, run

__all__ = ["run"]

PASSWORD = "correct horse battery"
KEEP = "CREATE TABLE kept AS SELECT * FROM users"
# A restore resets rows and sequences in the same way.
RESTORE = (
    "DELETE FROM users",
    "DELETE FROM outbox",
    "INSERT INTO users OVERRIDING SYSTEM VALUE SELECT * FROM kept",
    "UPDATE epoch_base SET base = $1",
    "SELECT setval('users_id_seq', $1)",
    "SELECT setval('outbox_id_seq', $1)",
)


async def change(service: Any, user_id: int) -> Any:
    """End the user's sessions; returns the event, which remains pending."""
    await service.app[ACCOUNTS].set_disabled(user_id, True)
    await service.app[ACCOUNTS].set_disabled(user_id, False)
    return (await service.events())[-1]


async def test_epochs_event_ids_and_user_ids_go_on_however_often_the_same_backup_is_restored(
    service: Any, run: Run
) -> None:
    user = await service.add(PASSWORD, email="a@x.com")
    event_id = (await service.rows("SELECT last_value FROM outbox_id_seq"))[0][0]
    base = (await service.rows("SELECT base FROM epoch_base"))[0][0]
    known_epoch, known_events, known_users = 0, {0}, {user.id}
    await service.rows(KEEP)
    try:
        for _ in range(3):
            for _ in range(2):
                event = await change(service, user.id)
                assert event["epoch"] > known_epoch
                assert event["id"] not in known_events
                known_epoch = event["epoch"]
                known_events.add(event["id"])
                added = await service.add(email=f"since-{event['id']}@x.com")
                assert added.id not in known_users
                known_users.add(added.id)
            for statement, value in zip(RESTORE, (None, None, None, base, user.id, event_id), strict=True):
                await service.rows(statement, *([] if value is None else [value]))
            assert (await run("restored")).status == 0
            told = (await service.check("a@x.com", PASSWORD))["epoch"]
            assert told > known_epoch
    finally:
        await service.rows("DROP TABLE kept")


async def test_a_check_and_an_event_are_told_the_same_epoch(service: Any, run: Run) -> None:
    user = await service.add(PASSWORD, email="a@x.com", phone_number="+8801712345678")
    before = time.time()
    assert (await run("restored", "--skip-ids", "7")).status == 0
    epoch = (await service.check("a@x.com", PASSWORD))["epoch"]
    assert before < epoch / 1e6 < time.time()
    assert (await service.check("+8801712345678", PASSWORD, "phone_number"))["epoch"] == epoch
    assert (await change(service, user.id))["epoch"] == epoch + 1
    assert (await service.check("a@x.com", PASSWORD))["epoch"] == epoch + 1
    assert (await service.add(email="b@x.com")).id == user.id + 8


async def test_it_may_be_said_again_and_while_the_service_runs(service: Any, run: Run) -> None:
    user = await service.add(PASSWORD, email="a@x.com")
    first = await change(service, user.id)
    ended = await asyncio.gather(run("restored"), run("restored"))
    assert [one.status for one in ended] == [0, 0]
    assert (await service.events())[0]["id"] == first["id"]
    second = await change(service, user.id)
    assert [event["id"] for event in await service.events()] == [first["id"], second["id"]]
    body = {"current_password": PASSWORD, "password": "a completely new one"}
    async with service.acknowledging():
        path = f"/api/v1/users/{user.id}/password"
        assert (await service.request("POST", path, body, user=user.id)).status == 204
    assert (await service.check("a@x.com", "a completely new one"))["epoch"] == second["epoch"] + 1


async def test_an_older_schema_is_one_line(run: Run, unmigrated_database_url: str) -> None:
    ended = await run("restored", url=unmigrated_database_url)
    assert ended == (1, "", "the database's schema is not current: run `python -m user_service migrate`\n")
