-- +goose Up
-- Days of devices in which samples came, or were corrected, behind the look-back of
-- releases; the next daily pass finds out what was released of them.
CREATE TABLE release_touched (
    device TEXT NOT NULL PRIMARY KEY,
    days   TEXT NOT NULL -- JSON: [[first, last]], numbers of days of China's time since 1970, both included
);

-- Days of datasets that are to be made again.
CREATE TABLE release_due (
    dataset TEXT   NOT NULL,
    starts  BIGINT NOT NULL, -- of the period, in milliseconds
    PRIMARY KEY (dataset, starts)
);

-- The day of the last daily pass; one row.
CREATE TABLE release_passes (
    id  BIGINT NOT NULL PRIMARY KEY,
    day BIGINT NOT NULL -- its beginning, in milliseconds
);

-- +goose Down
DROP TABLE release_passes;
DROP TABLE release_due;
DROP TABLE release_touched;
