-- +goose Up
CREATE TABLE sessions (
    id       TEXT   NOT NULL PRIMARY KEY,
    hash     BYTEA  NOT NULL UNIQUE, -- SHA-256 of the cookie
    name     TEXT   NOT NULL, -- of the token, or of the person
    shown    TEXT   NOT NULL, -- how the pages greet the person
    via      TEXT   NOT NULL, -- token or oidc
    token    BYTEA  NOT NULL, -- SHA-256 of the token; empty for a person
    subject  TEXT   NOT NULL, -- of a person, at the issuer
    role     TEXT   NOT NULL,
    region   TEXT   NOT NULL, -- prefix of division codes, empty for all
    origin   TEXT   NOT NULL, -- the address that signed in
    created  BIGINT NOT NULL,
    expires  BIGINT NOT NULL,
    last_use BIGINT NOT NULL -- behind by no more than an eighth of the idle time
);

-- +goose Down
DROP TABLE sessions;
