-- Notices of new and of acknowledged events, sent to all replicas by the database itself, whichever statement wrote them.

CREATE FUNCTION tell_of_outbox() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify(TG_ARGV[0], '');
    RETURN NULL;
END
$$;

CREATE TRIGGER outbox_added AFTER INSERT ON outbox
    FOR EACH ROW EXECUTE FUNCTION tell_of_outbox('outbox_added');

CREATE TRIGGER outbox_acknowledged AFTER DELETE ON outbox
    FOR EACH ROW EXECUTE FUNCTION tell_of_outbox('outbox_acknowledged');
