-- +goose Up
CREATE TABLE commands (
    id       TEXT    NOT NULL PRIMARY KEY,
    device   TEXT    NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
    rollout  TEXT    NOT NULL, -- empty for none
    name     TEXT    NOT NULL,
    params   TEXT    NOT NULL, -- JSON, empty for none
    once     INTEGER NOT NULL, -- 1: delivered at most once
    state    TEXT    NOT NULL,
    reason   TEXT    NOT NULL, -- why it ended without being done
    result   TEXT    NOT NULL, -- JSON that the device answered, empty for none
    actor    TEXT    NOT NULL, -- who asked
    attempts INTEGER NOT NULL,
    ttl      BIGINT  NOT NULL, -- milliseconds from its release to its expiry
    created  BIGINT  NOT NULL,
    expires  BIGINT  NOT NULL, -- 0 until it is released
    sent     BIGINT  NOT NULL,
    received BIGINT  NOT NULL,
    ended    BIGINT  NOT NULL  -- 0 while it is open
);
CREATE INDEX commands_device ON commands (device, id);
CREATE INDEX commands_rollout ON commands (rollout, id);
CREATE INDEX commands_ended ON commands (ended);

CREATE TABLE rollouts (
    id       TEXT    NOT NULL PRIMARY KEY,
    region   TEXT    NOT NULL, -- prefix that all its devices share
    name     TEXT    NOT NULL,
    rate     DOUBLE PRECISION NOT NULL, -- commands a second, 0 for no bound
    canary   INTEGER NOT NULL, -- how many go first
    failures INTEGER NOT NULL, -- how many of these may fail
    state    TEXT    NOT NULL,
    reason   TEXT    NOT NULL,
    actor    TEXT    NOT NULL,
    devices  INTEGER NOT NULL,
    created  BIGINT  NOT NULL,
    ended    BIGINT  NOT NULL
);

-- +goose Down
DROP TABLE rollouts;
DROP TABLE commands;
