-- The time of a user's last password change, which tells a repeated change from a wrong password.

ALTER TABLE users ADD COLUMN password_changed_at timestamptz;
