-- +goose Up
-- What was decided of each version of a dataset, before its files are made. What
-- was released is never removed: later versions are checked against it.
CREATE TABLE publications (
    dataset  TEXT   NOT NULL,
    version  BIGINT NOT NULL,
    starts   BIGINT NOT NULL, -- of the period, in milliseconds
    ends     BIGINT NOT NULL,
    decided  BIGINT NOT NULL, -- when
    released BIGINT NOT NULL, -- when its files were there; 0: not yet
    inputs   TEXT   NOT NULL, -- SHA-256 of the rows, or of the table before the gate
    source   TEXT   NOT NULL, -- kind of source
    record   TEXT   NOT NULL, -- JSON: the dataset as it was, and why it was made
    lineage  BLOB   NOT NULL, -- JSON, gzip: rows, series, devices
    sealed   BLOB,            -- what the privacy gate keeps; NULL: it did not pass one
    PRIMARY KEY (dataset, version)
);
CREATE INDEX publications_period ON publications (source, starts);

-- What was spent of the privacy budget, of all datasets.
CREATE TABLE privacy_budget (
    dataset       TEXT   NOT NULL,
    day           BIGINT NOT NULL, -- since 1970
    version       BIGINT NOT NULL,
    micro_epsilon BIGINT NOT NULL,
    input         TEXT   NOT NULL, -- keyed hash
    PRIMARY KEY (dataset, day, version)
);

-- Keys of noise, sealed.
CREATE TABLE privacy_keys (
    name   TEXT NOT NULL PRIMARY KEY,
    sealed BLOB NOT NULL
);

-- Passages at the detectors of a unit's links in a quarter of an hour, sealed.
-- They are gone after days.
CREATE TABLE road_passages (
    starts BIGINT NOT NULL, -- Unix seconds
    unit   TEXT   NOT NULL,
    sealed BLOB   NOT NULL,
    PRIMARY KEY (starts, unit)
);

-- +goose Down
DROP TABLE road_passages;
DROP TABLE privacy_keys;
DROP TABLE privacy_budget;
DROP TABLE publications;
