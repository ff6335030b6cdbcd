"""The statement that raises a restored database's numbers above all that the lost database can have given out."""

import secrets

from servicekit.postgres import Database

EVENT_ID_JUMP = 2**48


async def note_restored(database: Database, skipped_ids: int) -> None:
    """Raise epochs, event ids and user ids: auth-service may know later ones than this older database.

    The base of epochs becomes the time in microseconds, which exceeds any number of changes since the last restore.
    Event ids jump by a random number, so that a late acknowledgement of a lost event cannot match a future one,
    whichever backup was restored before.
    """
    await database.write_row(
        """
        WITH raised AS (
            UPDATE epoch_base SET base = greatest(base + 1, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)
            WHERE before_deadline($3) RETURNING base
        )
        SELECT setval('outbox_id_seq', (SELECT last_value FROM outbox_id_seq) + $1::bigint),
            setval('users_id_seq', (SELECT last_value FROM users_id_seq) + $2::bigint)
        FROM raised
        """,
        EVENT_ID_JUMP // 2 + secrets.randbelow(EVENT_ID_JUMP // 2),
        skipped_ids,
    )
