-- +goose Up
-- What was known of the alerts of a group of rules after its last change.
CREATE TABLE rule_groups (
    id    TEXT NOT NULL PRIMARY KEY, -- file;name
    state TEXT NOT NULL              -- JSON
);

-- What alerts did. Rows are added and, when too old, removed; none is changed.
CREATE TABLE rule_history (
    id    INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    at    BIGINT  NOT NULL, -- by the time of the data, ms
    known BIGINT  NOT NULL, -- when the hub knew of it, ms
    alert TEXT    NOT NULL,
    entry TEXT    NOT NULL  -- JSON
);
CREATE INDEX rule_history_known ON rule_history (known);
CREATE INDEX rule_history_alert ON rule_history (alert, id);

CREATE TABLE rule_silences (
    id      TEXT   NOT NULL PRIMARY KEY,
    until   BIGINT NOT NULL, -- ms
    silence TEXT   NOT NULL  -- JSON
);

-- What each receiver was last told of each group of alerts.
CREATE TABLE rule_told (
    receiver TEXT NOT NULL,
    key      TEXT NOT NULL, -- labels of the group
    state    TEXT NOT NULL, -- JSON
    PRIMARY KEY (receiver, key)
);

-- +goose Down
DROP TABLE rule_told;
DROP TABLE rule_silences;
DROP TABLE rule_history;
DROP TABLE rule_groups;
