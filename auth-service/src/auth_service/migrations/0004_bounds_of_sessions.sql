-- Columns that count a session's refreshes, and an index of each user's sessions that have not been revoked.

-- The index comes before the statements that lock readers out: logins and refreshes wait while it is built, but tokens
-- are still verified.
CREATE INDEX unrevoked_sessions_by_user ON sessions (user_id, client_id)
    WHERE user_id IS NOT NULL AND revoked_at IS NULL;

-- The old index also holds revoked sessions, of which one user may have very many. Without it, processes of the previous
-- version read the whole table when an e-mail address changes.
DROP INDEX sessions_by_user;

-- `retries` counts the retries of the refresh token spent last, `rotations` the rotations since `rotations_since`.
-- Constant defaults rewrite no row. None of these columns may be indexed: every refresh changes them, and an update of
-- an indexed column costs far more.
ALTER TABLE sessions
    ADD COLUMN retries integer NOT NULL DEFAULT 0,
    ADD COLUMN rotations integer NOT NULL DEFAULT 0,
    ADD COLUMN rotations_since timestamptz;
