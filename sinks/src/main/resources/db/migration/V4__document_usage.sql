-- When a document was last part of an answer's evidence or found by a search, and how often. The interactions and the gateway's events
-- say so; synthetic ones do not count. Counted where the rows are written, in their transaction: to aggregate all interactions each
-- time somebody asks takes longer with every one of them.

DROP VIEW IF EXISTS document_usage;

CREATE TABLE document_usage (
    document_id      text        PRIMARY KEY,
    last_accessed_at timestamptz NOT NULL,
    uses             bigint      NOT NULL
);

-- One after another until they commit: two sinks whose batches name the same documents would else wait for each other.
CREATE FUNCTION add_document_usage(ids text[], times timestamptz[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF cardinality(ids) > 0 THEN
        PERFORM pg_advisory_xact_lock(hashtext('document_usage'));
        INSERT INTO document_usage
        SELECT id, max(used_at), count(*) FROM unnest(ids, times) AS used (id, used_at) GROUP BY id
        ON CONFLICT (document_id) DO UPDATE SET
            last_accessed_at = greatest(document_usage.last_accessed_at, excluded.last_accessed_at),
            uses = document_usage.uses + excluded.uses;
    END IF;
END $$;

-- A document is used once by an interaction, however many of its passages are evidence.
CREATE FUNCTION documents_of_evidence(evidence jsonb) RETURNS SETOF text LANGUAGE sql IMMUTABLE AS $$
    SELECT DISTINCT each ->> 'document_id'
    FROM jsonb_array_elements(CASE jsonb_typeof(evidence) WHEN 'array' THEN evidence ELSE '[]' END) AS each
    WHERE each ->> 'document_id' <> ''
$$;

CREATE FUNCTION documents_of_event(source text, event_type text, attributes jsonb) RETURNS SETOF text LANGUAGE sql IMMUTABLE AS $$
    SELECT DISTINCT id FROM unnest(string_to_array(attributes ->> 'documents', ' ')) AS id
    WHERE source = 'millrace' AND event_type = 'documents_found' AND id <> ''
$$;

-- These see what is inserted and not what is written again, as after a crash: a row counts once.
CREATE FUNCTION count_interactions() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM add_document_usage(array_agg(id), array_agg(accepted_at))
    FROM added CROSS JOIN LATERAL documents_of_evidence(record -> 'evidence') AS id
    WHERE NOT synthetic;
    RETURN NULL;
END $$;

CREATE FUNCTION count_events() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM add_document_usage(array_agg(id), array_agg(created_at))
    FROM added CROSS JOIN LATERAL documents_of_event(source, event_type, attributes) AS id;
    RETURN NULL;
END $$;

CREATE TRIGGER count_usage AFTER INSERT ON interactions REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION count_interactions();

CREATE TRIGGER count_usage AFTER INSERT ON telemetry REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION count_events();

-- A rebuild empties a table before it fills it again: what the other one says still holds.
CREATE FUNCTION recount_usage() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM document_usage;
    PERFORM add_document_usage(array_agg(id), array_agg(accepted_at))
    FROM interactions CROSS JOIN LATERAL documents_of_evidence(record -> 'evidence') AS id
    WHERE NOT synthetic;
    PERFORM add_document_usage(array_agg(id), array_agg(created_at))
    FROM telemetry CROSS JOIN LATERAL documents_of_event(source, event_type, attributes) AS id;
    RETURN NULL;
END $$;

CREATE TRIGGER recount_usage AFTER TRUNCATE ON interactions
    FOR EACH STATEMENT EXECUTE FUNCTION recount_usage();

CREATE TRIGGER recount_usage AFTER TRUNCATE ON telemetry
    FOR EACH STATEMENT EXECUTE FUNCTION recount_usage();

-- what there is by now
SELECT add_document_usage(array_agg(id), array_agg(accepted_at))
FROM interactions CROSS JOIN LATERAL documents_of_evidence(record -> 'evidence') AS id
WHERE NOT synthetic;

SELECT add_document_usage(array_agg(id), array_agg(created_at))
FROM telemetry CROSS JOIN LATERAL documents_of_event(source, event_type, attributes) AS id;
