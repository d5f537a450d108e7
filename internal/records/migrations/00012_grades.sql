-- +goose Up
ALTER TABLE tokens ADD COLUMN grade INTEGER NOT NULL DEFAULT 1; -- the highest that it may see: 1 general, 2 important, 3 core
UPDATE tokens SET grade = 3 WHERE role = 'admin';

-- The highest grade that a removed device's data could have: its series stay.
CREATE TABLE departed (
    device TEXT    NOT NULL PRIMARY KEY,
    grade  INTEGER NOT NULL
);

ALTER TABLE credentials ADD COLUMN ends BIGINT NOT NULL DEFAULT 0; -- when the newest certificate that was issued ends, 0 for none

-- +goose Down
ALTER TABLE credentials DROP COLUMN ends;
DROP TABLE departed;
ALTER TABLE tokens DROP COLUMN grade;
