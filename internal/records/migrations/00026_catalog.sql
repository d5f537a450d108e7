-- +goose Up
-- Datasets of the catalogue. A withdrawn one stays: its id is never given again.
CREATE TABLE datasets (
    id      TEXT   NOT NULL PRIMARY KEY,
    version BIGINT NOT NULL,
    record  TEXT   NOT NULL -- JSON
);

-- Every version that a dataset had.
CREATE TABLE dataset_versions (
    dataset TEXT   NOT NULL REFERENCES datasets (id),
    version BIGINT NOT NULL,
    at      BIGINT NOT NULL,
    actor   TEXT   NOT NULL,
    act     TEXT   NOT NULL,
    reason  TEXT   NOT NULL, -- empty for none
    record  TEXT   NOT NULL, -- JSON, as it was afterwards
    PRIMARY KEY (dataset, version)
);

-- The last number of each sequence: of the codes of a class, of grants, of
-- tickets. Numbers are never given again.
CREATE TABLE catalog_sequences (
    name TEXT   NOT NULL PRIMARY KEY,
    last BIGINT NOT NULL
);

CREATE TABLE grants (
    number    BIGINT NOT NULL PRIMARY KEY,
    dataset   TEXT   NOT NULL REFERENCES datasets (id),
    region    TEXT   NOT NULL, -- of the dataset
    applicant TEXT   NOT NULL, -- name of the token
    state     TEXT   NOT NULL,
    version   BIGINT NOT NULL,
    record    TEXT   NOT NULL  -- JSON
);
CREATE INDEX grants_dataset ON grants (dataset, number);
CREATE INDEX grants_applicant ON grants (applicant, number);

-- Objections, and requests of persons about what is held about them.
CREATE TABLE tickets (
    number  BIGINT NOT NULL PRIMARY KEY,
    dataset TEXT   NOT NULL, -- empty: about no single dataset
    region  TEXT   NOT NULL,
    kind    TEXT   NOT NULL,
    state   TEXT   NOT NULL,
    version BIGINT NOT NULL,
    record  TEXT   NOT NULL, -- JSON without anything personal
    sealed  BLOB   NOT NULL, -- who it is of, and what was written
    secret  BLOB   NOT NULL  -- SHA-256 of what its status is asked with
);
CREATE INDEX tickets_dataset ON tickets (dataset, number);

-- +goose Down
DROP TABLE tickets;
DROP TABLE grants;
DROP TABLE catalog_sequences;
DROP TABLE dataset_versions;
DROP TABLE datasets;
