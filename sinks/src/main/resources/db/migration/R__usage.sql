-- When a document was last part of an answer's evidence or found by a search, and how often. The interactions and the gateway's events
-- say so; synthetic ones do not count.
CREATE OR REPLACE VIEW document_usage AS
SELECT document_id,
       max(used_at) AS last_accessed_at,
       count(DISTINCT used_by) AS uses,
       count(DISTINCT used_by) FILTER (WHERE good) AS good
FROM (
    SELECT evidence ->> 'document_id' AS document_id,
           i.accepted_at AS used_at,
           i.interaction_id AS used_by,
           f.rating = 1 OR f.outcome = 'success' AS good
    FROM interactions i
    CROSS JOIN LATERAL jsonb_array_elements(i.record -> 'evidence') AS evidence
    LEFT JOIN feedback f ON f.interaction_id = i.interaction_id
    WHERE NOT i.synthetic
    UNION ALL
    SELECT unnest(string_to_array(t.attributes ->> 'documents', ' ')), t.created_at, t.event_id, false
    FROM telemetry t
    WHERE t.source = 'millrace' AND t.event_type = 'documents_found'
) AS used
GROUP BY 1;

-- When work that is due once in a while was last begun.
CREATE TABLE IF NOT EXISTS upkeep (
    name     text        PRIMARY KEY,
    begun_at timestamptz NOT NULL
);
