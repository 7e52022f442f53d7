-- Projections of the log. Every table can be dropped and filled again; nothing else writes here.

-- How far each partition is in the database. Written in the same transaction as the rows.
CREATE TABLE sink_offsets (
    topic       text   NOT NULL,
    partition   int    NOT NULL,
    next_offset bigint NOT NULL,
    PRIMARY KEY (topic, partition)
);

-- Partitioned by month of acceptance, which the id itself holds: the key is the same however often the record comes.
CREATE TABLE interactions (
    interaction_id  uuid        NOT NULL,
    accepted_at     timestamptz NOT NULL,
    ended_at        timestamptz NOT NULL,
    outcome         text        NOT NULL,
    api             text        NOT NULL,
    model           text        NOT NULL,
    route           text        NOT NULL,
    backend         text        NOT NULL,
    deployment      text        NOT NULL,
    reason          text        NOT NULL,
    failure_reason  text,
    confidence      double precision,
    confidence_kind text        NOT NULL,
    context_score   double precision,
    latency_ms      double precision NOT NULL,
    tokens_in       int         NOT NULL,
    tokens_out      int         NOT NULL,
    cost_usd        double precision NOT NULL,
    tenant          text        NOT NULL,
    principal       text        NOT NULL,
    synthetic       boolean     NOT NULL,
    query_text      text        NOT NULL,
    answer_text     text,
    record          jsonb       NOT NULL,
    PRIMARY KEY (interaction_id, accepted_at)
) PARTITION BY RANGE (accepted_at);

CREATE TABLE decisions (
    interaction_id uuid        NOT NULL,
    attempt        int         NOT NULL,
    accepted_at    timestamptz NOT NULL,
    decided_at     timestamptz NOT NULL,
    route          text        NOT NULL,
    backend        text        NOT NULL,
    deployment     text        NOT NULL,
    reason         text        NOT NULL,
    confidence     double precision,
    record         jsonb       NOT NULL,
    PRIMARY KEY (interaction_id, attempt, accepted_at)
) PARTITION BY RANGE (accepted_at);

CREATE TABLE feedback (
    feedback_id    uuid        PRIMARY KEY,
    interaction_id text        NOT NULL,
    created_at     timestamptz NOT NULL,
    rating         int,
    outcome        text        NOT NULL,
    note           text        NOT NULL,
    correction     text        NOT NULL,
    record         jsonb       NOT NULL
);
CREATE INDEX feedback_interaction ON feedback (interaction_id);

CREATE TABLE telemetry (
    event_id       text        NOT NULL,
    created_at     timestamptz NOT NULL,
    source         text        NOT NULL,
    event_type     text        NOT NULL,
    interaction_id text        NOT NULL,
    record         jsonb       NOT NULL,
    PRIMARY KEY (event_id, created_at)
) PARTITION BY RANGE (created_at);

CREATE TABLE documents (
    document_id text        PRIMARY KEY,
    source      text        NOT NULL,
    path        text        NOT NULL,
    title       text        NOT NULL,
    collection  text        NOT NULL,
    checksum    text        NOT NULL,
    trust       text        NOT NULL,
    quarantined boolean     NOT NULL,
    size        int         NOT NULL,
    modified_at timestamptz,
    updated_at  timestamptz NOT NULL,
    metadata    jsonb       NOT NULL
);
CREATE INDEX documents_place ON documents (source, path);
