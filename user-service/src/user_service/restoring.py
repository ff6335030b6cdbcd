"""The statement that makes a restored database go on above everything that was told of the lost one."""

import secrets

from servicekit.postgres import Database

EVENT_ID_JUMP = 2**48


async def note_restored(database: Database, skipped_ids: int) -> None:
    """Raise what auth-service may know a later state of than this database, which is an older one.

    Microseconds are above any number of changes since the last time. Event ids jump at random, so that a late
    acknowledgement of one that is lost cannot be for one of those to come, whichever backup was restored before.
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
