-- +goose Up
CREATE TABLE tokens (
    name     TEXT   NOT NULL PRIMARY KEY,
    hash     BYTEA  NOT NULL UNIQUE, -- SHA-256 of the token
    role     TEXT   NOT NULL,
    region   TEXT   NOT NULL, -- prefix of division codes, empty for all
    created  BIGINT NOT NULL,
    expires  BIGINT NOT NULL, -- 0 for never
    last_use BIGINT NOT NULL  -- rounded to the hour
);

CREATE TABLE audit (
    seq    BIGINT NOT NULL PRIMARY KEY,
    at     BIGINT NOT NULL,
    actor  TEXT   NOT NULL,
    role   TEXT   NOT NULL,
    origin TEXT   NOT NULL, -- the caller's address
    action TEXT   NOT NULL,
    object TEXT   NOT NULL,
    region TEXT   NOT NULL,
    before TEXT   NOT NULL, -- JSON, empty for none
    after  TEXT   NOT NULL, -- JSON, empty for none
    prev   BYTEA  NOT NULL,
    hash   BYTEA  NOT NULL
);

CREATE TABLE answers (
    name    TEXT   NOT NULL PRIMARY KEY,
    digest  BYTEA  NOT NULL,
    body    BYTEA  NOT NULL,
    created BIGINT NOT NULL
);
CREATE INDEX answers_created ON answers (created);

-- +goose Down
DROP TABLE answers;
DROP TABLE audit;
DROP TABLE tokens;
