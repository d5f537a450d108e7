-- +goose Up
-- Versions that were made because of tickets: one that an order named, and those of
-- the corrections that a version was the first to be made with.
CREATE TABLE release_tickets (
    dataset TEXT   NOT NULL,
    version BIGINT NOT NULL,
    ticket  TEXT   NOT NULL,
    PRIMARY KEY (dataset, version, ticket)
);
CREATE INDEX release_tickets_by_ticket ON release_tickets (ticket);

-- When each destination had them first.
CREATE TABLE release_told (
    dataset     TEXT   NOT NULL,
    version     BIGINT NOT NULL,
    destination TEXT   NOT NULL,
    told        BIGINT NOT NULL, -- in milliseconds
    PRIMARY KEY (dataset, version, destination)
);

-- +goose Down
DROP TABLE release_told;
DROP TABLE release_tickets;
