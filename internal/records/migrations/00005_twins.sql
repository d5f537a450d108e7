-- +goose Up
CREATE TABLE wanted (
    device  TEXT   NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
    version BIGINT NOT NULL,
    config  TEXT   NOT NULL, -- JSON object; empty: nothing is wanted any more
    actor   TEXT   NOT NULL,
    at      BIGINT NOT NULL,
    PRIMARY KEY (device, version)
);

CREATE TABLE reported (
    device  TEXT   NOT NULL PRIMARY KEY REFERENCES devices (id) ON DELETE CASCADE,
    version BIGINT NOT NULL, -- of what was wanted, as the device saw it
    config  TEXT   NOT NULL, -- JSON object
    faults  TEXT   NOT NULL, -- JSON array, empty for none
    at      BIGINT NOT NULL
);

-- +goose Down
DROP TABLE reported;
DROP TABLE wanted;
