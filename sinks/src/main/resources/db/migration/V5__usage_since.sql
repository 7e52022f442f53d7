-- Since when no use can be missing from document_usage; what was used before is not known. Not the age of the oldest row: a database that is
-- made anew is filled from a log on which the events of searches have expired, and of one that is older than this table nobody wrote down
-- whether its sink was away for longer than they stay.
CREATE TABLE usage_since (
    since timestamptz NOT NULL
);

INSERT INTO usage_since VALUES (now());

-- Whoever empties one of the tables takes uses away, unless he brings them all back and says so, as a rebuild does.
CREATE FUNCTION begin_usage() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE usage_since SET since = now();
    RETURN NULL;
END $$;

CREATE TRIGGER begin_usage AFTER TRUNCATE ON interactions
    FOR EACH STATEMENT EXECUTE FUNCTION begin_usage();

CREATE TRIGGER begin_usage AFTER TRUNCATE ON telemetry
    FOR EACH STATEMENT EXECUTE FUNCTION begin_usage();
