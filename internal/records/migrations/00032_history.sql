-- +goose Up
-- What was found wrong in stored samples. Rows are added and never changed; the
-- hub reads them in order when it starts and keeps at most 100,000.
CREATE TABLE corrections (
    id      BIGINT NOT NULL PRIMARY KEY,
    device  TEXT   NOT NULL,
    metric  TEXT   NOT NULL,
    from_ms BIGINT NOT NULL,
    to_ms   BIGINT NOT NULL, -- included
    made_at BIGINT NOT NULL,
    record  TEXT   NOT NULL -- JSON
);
CREATE INDEX corrections_device ON corrections (device, metric, id);

-- How far files of history are in.
CREATE TABLE imports (
    id      TEXT   NOT NULL PRIMARY KEY,
    updated BIGINT NOT NULL,
    record  TEXT   NOT NULL -- JSON
);
CREATE INDEX imports_updated ON imports (updated);

-- +goose Down
DROP TABLE imports;
DROP TABLE corrections;
