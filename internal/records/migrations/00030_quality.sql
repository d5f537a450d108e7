-- +goose Up
-- What was measured of a dataset on a day of China's time.
CREATE TABLE dataset_quality (
    dataset TEXT NOT NULL REFERENCES datasets (id),
    day     TEXT NOT NULL, -- 2026-11-26
    record  TEXT NOT NULL, -- JSON
    PRIMARY KEY (dataset, day)
);
CREATE INDEX dataset_quality_day ON dataset_quality (day);

-- What is found of a dataset: declared against measured, and copies. One is open
-- from the first day that has it to the last.
CREATE TABLE dataset_findings (
    dataset TEXT NOT NULL REFERENCES datasets (id),
    kind    TEXT NOT NULL,
    about   TEXT NOT NULL, -- empty: the dataset as a whole
    since   TEXT NOT NULL, -- day
    until   TEXT NOT NULL, -- day that has it no more; empty while it is open
    record  TEXT NOT NULL, -- JSON
    PRIMARY KEY (dataset, kind, about, since)
);

-- How the samples of a device came, by day of China's time.
CREATE TABLE device_arrivals (
    device TEXT NOT NULL,
    day    TEXT NOT NULL,
    record TEXT NOT NULL, -- JSON
    PRIMARY KEY (device, day)
);
CREATE INDEX device_arrivals_day ON device_arrivals (day);

-- +goose Down
DROP TABLE device_arrivals;
DROP TABLE dataset_findings;
DROP TABLE dataset_quality;
