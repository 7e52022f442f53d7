-- When a document was last part of an answer's evidence, and how often. The interactions are the events; synthetic ones do not count.
CREATE OR REPLACE VIEW document_usage AS
SELECT evidence ->> 'document_id' AS document_id,
       max(i.accepted_at) AS last_accessed_at,
       count(DISTINCT i.interaction_id) AS uses,
       count(DISTINCT i.interaction_id) FILTER (WHERE f.rating = 1 OR f.outcome = 'success') AS good
FROM interactions i
CROSS JOIN LATERAL jsonb_array_elements(i.record -> 'evidence') AS evidence
LEFT JOIN feedback f ON f.interaction_id = i.interaction_id
WHERE NOT i.synthetic
GROUP BY 1;

-- When work that is due once in a while was last begun.
CREATE TABLE IF NOT EXISTS upkeep (
    name     text        PRIMARY KEY,
    begun_at timestamptz NOT NULL
);
