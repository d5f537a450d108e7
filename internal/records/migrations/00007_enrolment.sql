-- +goose Up
CREATE TABLE enrolments (
    name    TEXT   NOT NULL PRIMARY KEY,
    hash    BYTEA  NOT NULL UNIQUE, -- SHA-256 of the token
    kind    TEXT   NOT NULL, -- of the devices that may enrol; empty for any, as the next
    site    TEXT   NOT NULL,
    region  TEXT   NOT NULL, -- prefix of division codes
    prefix  TEXT   NOT NULL, -- of device ids
    uses    BIGINT NOT NULL, -- how many devices may enrol
    used    BIGINT NOT NULL,
    created BIGINT NOT NULL,
    expires BIGINT NOT NULL
);

-- How a device got its credentials: the same key may ask again for what got lost.
CREATE TABLE enrolled (
    device TEXT   NOT NULL PRIMARY KEY REFERENCES devices (id) ON DELETE CASCADE,
    token  BYTEA  NOT NULL, -- SHA-256 of the token
    key    BYTEA  NOT NULL, -- SHA-256 of the public key
    since  BIGINT NOT NULL  -- of the credentials
);

ALTER TABLE credentials ADD COLUMN awaited INTEGER NOT NULL DEFAULT 0; -- 1: nobody has them yet, the device is to enrol

-- +goose Down
ALTER TABLE credentials DROP COLUMN awaited;
DROP TABLE enrolled;
DROP TABLE enrolments;
