-- Clients, sessions, stored access tokens, users' epochs and signing keys.

CREATE TABLE clients (
    client_id text PRIMARY KEY,
    dialect text NOT NULL,
    secret_digest bytea,
    secret_ciphertext bytea,
    grant_types text[] NOT NULL,
    grant_types_without_secret text[] NOT NULL,
    scope text[] NOT NULL,
    default_scope text[] NOT NULL,
    access_token_lifetime integer NOT NULL CHECK (access_token_lifetime > 0),
    idle_lifetime integer NOT NULL CHECK (idle_lifetime > 0),
    session_lifetime integer NOT NULL CHECK (session_lifetime > 0),
    default_for text UNIQUE,
    disabled_at timestamptz,
    version bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    CHECK (default_scope <@ scope),
    CHECK (grant_types_without_secret <@ grant_types)
);

-- There is no foreign key from sessions to clients: every login would take a key-share lock on its client's row.
-- A session without its client is not live.
CREATE TABLE sessions (
    id bigint PRIMARY KEY,
    client_id text NOT NULL,
    user_id bigint,
    email text,
    epoch bigint NOT NULL DEFAULT 0,
    scope text[] NOT NULL,
    counter integer NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    rotated_at timestamptz,
    idle_expires_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz
) WITH (fillfactor = 80);

CREATE INDEX sessions_by_user ON sessions (user_id) WHERE user_id IS NOT NULL;

CREATE INDEX sessions_by_expiry ON sessions (expires_at);

CREATE TABLE user_epochs (user_id bigint PRIMARY KEY, epoch bigint NOT NULL, raised_at timestamptz NOT NULL);

-- A session opened for an epoch that its user has already left is dead on arrival, so no race with the event that
-- raised the epoch can leave one alive.
CREATE VIEW live_sessions AS
    SELECT s.*, c.dialect FROM sessions s JOIN clients c USING (client_id)
    WHERE s.revoked_at IS NULL AND s.expires_at > now() AND c.disabled_at IS NULL
        AND NOT EXISTS (SELECT FROM user_epochs e WHERE e.user_id = s.user_id AND e.epoch > s.epoch);

CREATE TABLE access_tokens (
    digest bytea NOT NULL,
    drop_day integer NOT NULL,
    session_id bigint NOT NULL,
    scope text[] NOT NULL,
    issued_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (digest, drop_day)
) PARTITION BY LIST (drop_day);

CREATE TABLE signing_keys (
    kid text PRIMARY KEY,
    algorithm text NOT NULL,
    status text NOT NULL CHECK (status IN ('pending', 'active', 'retiring')),
    private_ciphertext bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    activates_at timestamptz NOT NULL,
    gone_at timestamptz
);

CREATE UNIQUE INDEX one_active_signing_key ON signing_keys (algorithm) WHERE status = 'active';

CREATE UNIQUE INDEX one_pending_signing_key ON signing_keys (algorithm) WHERE status = 'pending';
