-- Types are such as SQLite and PostgreSQL both take. Times are milliseconds
-- since the Unix epoch; 0 means never.

-- +goose Up
CREATE TABLE devices (
    id       TEXT             NOT NULL PRIMARY KEY,
    kind     TEXT             NOT NULL,
    site     TEXT             NOT NULL,
    region   TEXT             NOT NULL,
    tags     TEXT             NOT NULL, -- JSON object of strings, empty for none
    period   BIGINT           NOT NULL, -- milliseconds, 0 for undeclared
    lat      DOUBLE PRECISION,
    lon      DOUBLE PRECISION,
    gateway  TEXT             NOT NULL, -- the device that may speak for it
    grade    INTEGER          NOT NULL,
    disabled INTEGER          NOT NULL,
    version  BIGINT           NOT NULL,
    created  BIGINT           NOT NULL,
    updated  BIGINT           NOT NULL
);

CREATE TABLE credentials (
    device   TEXT    NOT NULL PRIMARY KEY REFERENCES devices (id) ON DELETE CASCADE,
    verifier TEXT    NOT NULL, -- "sha256:<hex>" or an argon2id string
    key_id   BYTEA   NOT NULL, -- the key under which mac and sealed were made
    mac      BYTEA   NOT NULL,
    sealed   BYTEA   NOT NULL,
    created  BIGINT  NOT NULL
);

CREATE TABLE sites (
    id      TEXT             NOT NULL PRIMARY KEY,
    name_zh TEXT             NOT NULL,
    name_en TEXT             NOT NULL,
    region  TEXT             NOT NULL,
    lat     DOUBLE PRECISION,
    lon     DOUBLE PRECISION,
    version BIGINT           NOT NULL,
    updated BIGINT           NOT NULL
);

CREATE TABLE states (
    device TEXT   NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
    name   TEXT   NOT NULL,
    value  TEXT   NOT NULL,
    time   BIGINT NOT NULL,
    PRIMARY KEY (device, name)
);

CREATE TABLE metrics (
    name TEXT NOT NULL PRIMARY KEY,
    unit TEXT NOT NULL
);

CREATE TABLE presence (
    device      TEXT   NOT NULL PRIMARY KEY REFERENCES devices (id) ON DELETE CASCADE,
    state       TEXT   NOT NULL,
    reason      TEXT   NOT NULL,
    since       BIGINT NOT NULL,
    last_seen   BIGINT NOT NULL,
    last_event  BIGINT NOT NULL,
    transitions BIGINT NOT NULL
);

CREATE TABLE presence_history (
    device TEXT   NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
    n      BIGINT NOT NULL,
    state  TEXT   NOT NULL,
    reason TEXT   NOT NULL,
    at     BIGINT NOT NULL,
    PRIMARY KEY (device, n)
);

-- +goose Down
DROP TABLE presence_history;
DROP TABLE presence;
DROP TABLE metrics;
DROP TABLE states;
DROP TABLE sites;
DROP TABLE credentials;
DROP TABLE devices;
