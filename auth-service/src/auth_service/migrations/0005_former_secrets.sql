-- A client's former secret, which stays valid for a while; and clients that are removed and added again.

-- The view comes before the table: a statement that verifies a token locks them in this order. A session older than its
-- client's registration belonged to a client of the same id that has since been removed.
CREATE OR REPLACE VIEW live_sessions AS
    SELECT s.id, s.client_id, s.user_id, s.email, s.epoch, s.scope, s.counter, s.created_at, s.rotated_at,
        s.idle_expires_at, s.expires_at, s.revoked_at, c.dialect
    FROM sessions s JOIN clients c USING (client_id)
    WHERE s.revoked_at IS NULL AND s.expires_at > now() AND c.disabled_at IS NULL AND s.created_at >= c.created_at
        AND s.global_epoch >= (SELECT epoch FROM global_epoch)
        AND NOT EXISTS (SELECT FROM user_epochs e WHERE e.user_id = s.user_id AND e.epoch > s.epoch);

-- `former_secret_successor` is the digest of the secret that replaced the former one. The previous version replaces a
-- secret without changing these columns. The former secret's successor is then no longer the client's secret, and the
-- former secret is no longer accepted.
ALTER TABLE clients
    ADD COLUMN former_secret_digest bytea,
    ADD COLUMN former_secret_successor bytea,
    ADD COLUMN former_secret_expires_at timestamptz;

-- A process may remember a registration that has been removed. Its version must not be that of a later registration of
-- the same id.
ALTER TABLE clients ALTER COLUMN version SET DEFAULT floor(random() * 2 ^ 52)::bigint;
