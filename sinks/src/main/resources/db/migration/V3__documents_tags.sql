-- Tags of documents, for questions about them; and the way to the feedback of the last minutes.
ALTER TABLE documents ADD COLUMN tags jsonb NOT NULL DEFAULT '[]';

CREATE INDEX documents_tags ON documents USING gin (tags);
CREATE INDEX feedback_created_at ON feedback USING brin (created_at);
