-- +goose Up
CREATE TABLE audit_checkpoints (
    origin TEXT   NOT NULL, -- the name of the key that signed
    size   BIGINT NOT NULL, -- entries covered
    at     BIGINT NOT NULL,
    note   TEXT   NOT NULL, -- signed note (C2SP tlog-checkpoint)
    PRIMARY KEY (size, origin)
);

-- The Merkle tree over the hashes of the entries that are covered.
CREATE TABLE audit_tree (
    place BIGINT NOT NULL PRIMARY KEY, -- stored hash index (golang.org/x/mod/sumdb/tlog)
    hash  BYTEA  NOT NULL
);

-- +goose Down
DROP TABLE audit_tree;
DROP TABLE audit_checkpoints;
