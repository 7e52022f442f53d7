-- When work that is due once in a while was last begun.
CREATE TABLE IF NOT EXISTS upkeep (
    name     text        PRIMARY KEY,
    begun_at timestamptz NOT NULL
);
