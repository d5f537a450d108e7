-- +goose Up
CREATE TABLE models (
    id       TEXT   NOT NULL PRIMARY KEY,
    document TEXT   NOT NULL, -- JSON
    file     TEXT   NOT NULL, -- the file that it comes from, empty for none
    version  BIGINT NOT NULL,
    updated  BIGINT NOT NULL
);

ALTER TABLE devices ADD COLUMN model TEXT REFERENCES models (id); -- null for none

-- +goose Down
ALTER TABLE devices DROP COLUMN model;
DROP TABLE models;
