-- +goose Up
-- Documents are of internal/schedule/ledger, as encode.go writes them.
CREATE TABLE schedule_inventory (
    kind TEXT  NOT NULL, -- facility, pool, tenant, queue
    id   TEXT  NOT NULL,
    doc  BYTEA NOT NULL,
    PRIMARY KEY (kind, id)
);

-- What has not ended, or takes capacity: workloads and reservations with their leases.
CREATE TABLE schedule_live (
    num BIGINT NOT NULL PRIMARY KEY,
    doc BYTEA  NOT NULL
);

CREATE TABLE schedule_ended (
    num    BIGINT NOT NULL PRIMARY KEY,
    tenant TEXT   NOT NULL,
    state  TEXT   NOT NULL,
    ended  BIGINT NOT NULL,
    doc    BYTEA  NOT NULL
);
CREATE INDEX schedule_ended_tenant ON schedule_ended (tenant, num);
CREATE INDEX schedule_ended_ended ON schedule_ended (ended);

-- One row for each commit; the newest is never deleted, because it holds the counters.
CREATE TABLE schedule_commits (
    seq    BIGINT NOT NULL PRIMARY KEY, -- of its last event
    first  BIGINT NOT NULL,             -- of its first event
    at     BIGINT NOT NULL,
    num    BIGINT NOT NULL, -- the last number of a workload or reservation
    token  BIGINT NOT NULL, -- the last fencing token
    events BYTEA  NOT NULL
);

-- Idempotency keys, one row for each commit that brought some.
CREATE TABLE schedule_keys (
    seq  BIGINT NOT NULL PRIMARY KEY,
    at   BIGINT NOT NULL,
    keys BYTEA  NOT NULL -- 40 bytes each: SHA-256 of tenant and key (16), of the body (16), number (8)
);

-- +goose Down
DROP TABLE schedule_keys;
DROP TABLE schedule_commits;
DROP TABLE schedule_ended;
DROP TABLE schedule_live;
DROP TABLE schedule_inventory;
