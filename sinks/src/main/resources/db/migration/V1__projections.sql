-- The projections of the log. Everything here can be dropped and rebuilt from it.
--
-- Tables where time rules are partitioned by month, in UTC. Their partition key is the time inside the UUIDv7 that names the row,
-- never a time that two records about the same thing could disagree on: so (id, time) is unique exactly when the id is, and an
-- upsert finds its row whichever record it comes from. The primary key starts with the id: looking up an id alone probes one
-- index per month. Partitions are made by the sink before the first row of a month arrives.

CREATE TABLE interactions (
    interaction_id  uuid             NOT NULL,
    accepted_at     timestamptz      NOT NULL, -- from the id, milliseconds
    ended_at        timestamptz,
    outcome         text             NOT NULL,
    route           text             NOT NULL,
    backend         text             NOT NULL,
    deployment      text             NOT NULL,
    reason          text             NOT NULL,
    confidence      double precision,
    confidence_kind text             NOT NULL,
    context_score   double precision,
    latency_ms      double precision NOT NULL,
    tokens_in       integer          NOT NULL,
    tokens_out      integer          NOT NULL,
    cost_usd        double precision NOT NULL,
    tenant          text             NOT NULL,
    principal       text             NOT NULL,
    synthetic       boolean          NOT NULL,
    api             text             NOT NULL,
    model           text             NOT NULL,
    query_text      text             NOT NULL,
    answer_text     text             NOT NULL,
    failure_reason  text,
    record          jsonb            NOT NULL, -- the whole Interaction, without its bytes fields
    PRIMARY KEY (interaction_id, accepted_at)
) PARTITION BY RANGE (accepted_at);

-- BRIN: rows arrive in the order of time, so a few kilobytes of index find a day
CREATE INDEX interactions_accepted_at ON interactions USING brin (accepted_at);

CREATE TABLE decisions (
    interaction_id uuid        NOT NULL,
    attempt        integer     NOT NULL,
    accepted_at    timestamptz NOT NULL, -- from the interaction's id: joins to interactions prune by it
    decided_at     timestamptz NOT NULL,
    route          text        NOT NULL,
    backend        text        NOT NULL,
    deployment     text        NOT NULL,
    reason         text        NOT NULL,
    confidence     double precision,
    synthetic      boolean     NOT NULL,
    record         jsonb       NOT NULL,
    PRIMARY KEY (interaction_id, attempt, accepted_at)
) PARTITION BY RANGE (accepted_at);

CREATE INDEX decisions_accepted_at ON decisions USING brin (accepted_at);

CREATE TABLE feedback (
    feedback_id    uuid        PRIMARY KEY,
    interaction_id uuid,                 -- null for feedback without an interaction
    rating         integer,
    outcome        text        NOT NULL,
    note           text        NOT NULL,
    correction     text        NOT NULL,
    created_at     timestamptz NOT NULL,
    record         jsonb       NOT NULL
);

CREATE INDEX feedback_interaction_id ON feedback (interaction_id);

CREATE TABLE telemetry (
    event_id       uuid        NOT NULL,
    created_at     timestamptz NOT NULL, -- from the id
    source         text        NOT NULL,
    event_type     text        NOT NULL,
    interaction_id uuid,
    attributes     jsonb       NOT NULL,
    PRIMARY KEY (event_id, created_at)
) PARTITION BY RANGE (created_at);

CREATE INDEX telemetry_created_at ON telemetry USING brin (created_at);
CREATE INDEX telemetry_interaction_id ON telemetry (interaction_id) WHERE interaction_id IS NOT NULL;

CREATE TABLE documents (
    document_id text        PRIMARY KEY,
    source      text        NOT NULL,
    path        text        NOT NULL,
    title       text        NOT NULL,
    collection  text        NOT NULL,
    checksum    text        NOT NULL,
    trust       text        NOT NULL,
    quarantined boolean     NOT NULL,
    size        integer     NOT NULL, -- bytes of the content in UTF-8
    modified_at timestamptz,
    updated_at  timestamptz NOT NULL,
    metadata    jsonb       NOT NULL
);

-- not on the path: one of 3 kB would not fit into an index, and refuse the row
CREATE INDEX documents_source ON documents (source);

-- How far each partition is projected. Written in the transaction that writes the rows, so the two cannot disagree.
CREATE TABLE sink_offsets (
    topic       text    NOT NULL,
    partition   integer NOT NULL,
    next_offset bigint  NOT NULL,
    PRIMARY KEY (topic, partition)
);

CREATE VIEW decisions_by_reason AS
SELECT (decided_at AT TIME ZONE 'UTC')::date AS day, reason, route, count(*) AS decisions
FROM decisions
WHERE NOT synthetic
GROUP BY 1, 2, 3;

CREATE VIEW cost_by_day AS
SELECT (accepted_at AT TIME ZONE 'UTC')::date AS day, backend, count(*) AS interactions,
       sum(tokens_in) AS tokens_in, sum(tokens_out) AS tokens_out, sum(cost_usd) AS cost_usd
FROM interactions
WHERE NOT synthetic
GROUP BY 1, 2;
