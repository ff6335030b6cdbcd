-- Sessions have a subject, `auth_time` and `amr`; each signing key has one purpose.
--
-- `subject` is what clients see as the user's `sub`. It is read wherever a client is told, and nothing in this version
-- writes it: it is meant for users who are imported with identifiers that their clients know already.

-- This table comes first, because the statement that retires a key locks it before it locks `clients`.
--
-- The previous version signs both kinds of token with the ES256 key whose status is `active`, and it activates and
-- retires keys by their algorithm alone. Internal keys therefore have status words of their own, `published` for
-- `pending` and `signing` for `active`: the previous version publishes these keys and verifies with them, and leaves
-- them alone otherwise. The keys that it makes are access keys.
--
-- `exclusive_from` is set on the first internal key of a database that already had keys. Until then, replicas of the
-- previous version may sign internal tokens with access keys.
ALTER TABLE signing_keys
    ADD COLUMN purpose text NOT NULL DEFAULT 'access',
    ADD COLUMN exclusive_from timestamptz,
    DROP CONSTRAINT signing_keys_status_check,
    ADD CONSTRAINT signing_keys_status_check CHECK (
        status = 'retiring' OR (status IN ('published', 'signing') AND purpose = 'internal')
        OR (status IN ('pending', 'active') AND purpose <> 'internal')
    );

DROP INDEX one_active_signing_key;

DROP INDEX one_pending_signing_key;

CREATE UNIQUE INDEX one_active_signing_key ON signing_keys (algorithm, purpose)
    WHERE status IN ('active', 'signing');

CREATE UNIQUE INDEX one_pending_signing_key ON signing_keys (algorithm, purpose)
    WHERE status IN ('pending', 'published');

-- A null subject means the user's number, a null `auth_time` the time at which the session was opened, and a null
-- `amr` that nothing is known of how the user logged in: so it is in sessions that the previous version opens.
--
-- A login locks the table before the view, and a verification the view before the table, so a migration that holds
-- one lock and waits for the other would bring about deadlocks. This one gives both up after 0.2 seconds, and tries
-- again.
DO $$
BEGIN
    SET LOCAL lock_timeout = '200ms';
    LOOP
        BEGIN
            ALTER TABLE sessions
                ADD COLUMN subject text, ADD COLUMN auth_time timestamptz, ADD COLUMN amr text[];
            CREATE OR REPLACE VIEW live_sessions AS
                SELECT s.id, s.client_id, s.user_id, s.email, s.epoch, s.scope, s.counter, s.created_at,
                    s.rotated_at, s.idle_expires_at, s.expires_at, s.revoked_at, c.dialect, s.subject,
                    coalesce(s.auth_time, CASE WHEN s.user_id IS NOT NULL THEN s.created_at END) AS auth_time,
                    s.amr
                FROM sessions s JOIN clients c USING (client_id)
                WHERE s.revoked_at IS NULL AND s.expires_at > now() AND c.disabled_at IS NULL
                    AND s.created_at >= c.created_at
                    AND s.global_epoch >= (SELECT epoch FROM global_epoch)
                    AND NOT EXISTS (SELECT FROM user_epochs e WHERE e.user_id = s.user_id AND e.epoch > s.epoch);
            EXIT;
        EXCEPTION WHEN lock_not_available THEN NULL;
        END;
    END LOOP;
    SET LOCAL lock_timeout TO DEFAULT;
END
$$;
