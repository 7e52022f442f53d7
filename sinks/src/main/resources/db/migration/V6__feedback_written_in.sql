-- The transaction that wrote a rating: by it readers go on where they were. Not by when it was said, since ratings come late and clocks differ.
ALTER TABLE feedback ADD COLUMN written_in xid8 NOT NULL DEFAULT pg_current_xact_id();

CREATE INDEX feedback_written_in ON feedback (written_in);
