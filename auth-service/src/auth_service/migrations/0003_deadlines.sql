-- A condition for statements that write: that somebody still waits for them, by this server's clock.

-- The function is volatile, so it is evaluated where it is written: as a condition before the write, and in RETURNING
-- after the statement has waited for its locks.
CREATE FUNCTION before_deadline(deadline float8) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    IF extract(epoch FROM clock_timestamp()) < deadline THEN
        RETURN true;
    END IF;
    RAISE EXCEPTION 'nobody waits for this statement any longer' USING ERRCODE = 'PY408';
END
$$;
