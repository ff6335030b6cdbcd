-- An epoch of the whole database: a session opened before it was raised has ended.

CREATE TABLE global_epoch (epoch bigint NOT NULL);

CREATE UNIQUE INDEX one_global_epoch ON global_epoch ((true));

INSERT INTO global_epoch VALUES (0);

-- A constant default rewrites no row, however many sessions there are.
ALTER TABLE sessions ADD COLUMN global_epoch bigint NOT NULL DEFAULT 0;

-- The view keeps its columns. Without a row in global_epoch nothing is live.
CREATE OR REPLACE VIEW live_sessions AS
    SELECT s.id, s.client_id, s.user_id, s.email, s.epoch, s.scope, s.counter, s.created_at, s.rotated_at,
        s.idle_expires_at, s.expires_at, s.revoked_at, c.dialect
    FROM sessions s JOIN clients c USING (client_id)
    WHERE s.revoked_at IS NULL AND s.expires_at > now() AND c.disabled_at IS NULL
        AND s.global_epoch >= (SELECT epoch FROM global_epoch)
        AND NOT EXISTS (SELECT FROM user_epochs e WHERE e.user_id = s.user_id AND e.epoch > s.epoch);
