-- +goose Up
ALTER TABLE presence ADD COLUMN period BIGINT NOT NULL DEFAULT 0; -- milliseconds, as learned; 0 for unknown

-- +goose Down
ALTER TABLE presence DROP COLUMN period;
