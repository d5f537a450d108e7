-- +goose Up
-- What became of each dataset last, as the public was told. Numbers rise over
-- all datasets and are never given again.
CREATE TABLE feed_changes (
    dataset TEXT   NOT NULL PRIMARY KEY,
    number  BIGINT NOT NULL UNIQUE,
    at      BIGINT NOT NULL,
    digest  BLOB   NOT NULL, -- of what is said of it; empty: it is gone
    reason  TEXT   NOT NULL  -- why it is gone; empty for none
);

-- One row: the last number, and the highest one of a tombstone that is no
-- longer kept.
CREATE TABLE feed_numbers (
    id        INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    last      BIGINT  NOT NULL,
    forgotten BIGINT  NOT NULL
);
INSERT INTO feed_numbers (id, last, forgotten) VALUES (1, 0, 0);

-- What each destination was told of each dataset.
CREATE TABLE outlet_entries (
    destination TEXT   NOT NULL,
    dataset     TEXT   NOT NULL,
    number      BIGINT NOT NULL, -- of the change that it was told, or refused; 0: it is to be told anew
    entry       TEXT   NOT NULL, -- JSON
    PRIMARY KEY (destination, dataset)
);

-- +goose Down
DROP TABLE outlet_entries;
DROP TABLE feed_numbers;
DROP TABLE feed_changes;
