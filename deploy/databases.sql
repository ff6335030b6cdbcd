-- Run once on an empty cluster: creates a database and a role for each service. A role can connect to its own database
-- only.
\set auth_password `cat /run/secrets/AUTH_DATABASE_PASSWORD`
\set users_password `cat /run/secrets/USERS_DATABASE_PASSWORD`
CREATE ROLE auth LOGIN PASSWORD :'auth_password';
CREATE ROLE users LOGIN PASSWORD :'users_password';
CREATE DATABASE auth OWNER auth;
CREATE DATABASE users OWNER users;
REVOKE ALL ON DATABASE auth, users, postgres, template1 FROM PUBLIC;
