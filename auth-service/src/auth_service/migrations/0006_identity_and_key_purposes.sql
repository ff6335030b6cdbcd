-- Sessions have a subject, `auth_time` and `amr`; each signing key has one purpose.
--
-- `subject` is what clients see as the user's `sub`: in access tokens that have one, and in introspection. Fields that
-- hold a number keep the user's number. Nothing in this version writes it: it is meant for users who are imported with
-- identifiers that their clients know already.

-- The previous version signs both kinds of token with the ES256 key whose status is `active`, and it activates and
-- retires keys by their algorithm alone. Internal keys therefore have status words of their own, `published` for
-- `pending` and `signing` for `active`: the previous version publishes these keys and verifies with them, and leaves
-- them alone otherwise. The keys that it makes are access keys.
--
-- `exclusive_from` is set on the first internal key of a database that already had keys. Until then, replicas of the
-- previous version may sign internal tokens with access keys.
--
-- A null subject means the user's number, a null `auth_time` the time at which the session was opened, and a null `amr`
-- that nothing is known about how the user logged in: sessions that the previous version opens have these.
--
-- A login locks the table before the view, and a verification the view before the table, so a migration that holds one
-- lock and waits for the other could cause deadlocks. This one gives up all its locks after 0.2 seconds, lets others go
-- on, and tries again. Every tenth attempt waits for two seconds, since an automatic VACUUM gives way only to a
-- statement that has waited for `deadlock_timeout`. `signing_keys` comes first because the statement that retires a key
-- locks it before it locks `clients`.
DO $$
DECLARE
    attempt integer := 0;
BEGIN
    LOOP
        attempt := attempt + 1;
        PERFORM set_config('lock_timeout', CASE WHEN attempt % 10 = 0 THEN '2s' ELSE '200ms' END, true);
        BEGIN
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
        EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
            PERFORM pg_sleep(0.3);
        END;
    END LOOP;
    SET LOCAL lock_timeout TO DEFAULT;
END
$$;
