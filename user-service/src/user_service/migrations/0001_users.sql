-- Users, and the outbox of events that auth-service fetches.

CREATE TABLE users (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- as the user gave it; comparisons use the key
    email text,
    email_key text CONSTRAINT users_email_taken UNIQUE,
    username text,
    username_key text CONSTRAINT users_username_taken UNIQUE,
    -- E.164
    phone_number text CONSTRAINT users_phone_number_taken UNIQUE CHECK (phone_number ~ '^\+[1-9][0-9]{1,14}$'),
    -- PHC format; null where the user cannot log in by password
    password_hash text,
    role text NOT NULL DEFAULT 'default' CHECK (role IN ('default', 'admin')),
    -- raised whenever all of the user's sessions must end
    epoch integer NOT NULL DEFAULT 0,
    disabled_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CHECK ((email IS NULL) = (email_key IS NULL)),
    CHECK ((username IS NULL) = (username_key IS NULL)),
    CONSTRAINT users_has_login_name CHECK (num_nonnulls(email, username, phone_number) > 0)
);

CREATE TABLE outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    type text NOT NULL CHECK (type IN ('sessions_ended', 'email_changed')),
    -- no foreign key: the event of a deletion outlives the user
    user_id bigint NOT NULL,
    epoch integer NOT NULL,
    -- the session that a password change leaves alive
    keep_session text,
    email text,
    created_at timestamptz NOT NULL DEFAULT now()
);
