-- +goose Up
-- Whether a unit took back something that it had told of the quarter, so that what was
-- released of it before may not be in it any more. Of quarters from before this is known
-- of none.
ALTER TABLE road_passages ADD COLUMN replaced INTEGER NOT NULL DEFAULT 1;

-- +goose Down
ALTER TABLE road_passages DROP COLUMN replaced;
