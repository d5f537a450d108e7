-- +goose Up
-- What commits changed and no other table has yet, one row for each commit.
CREATE TABLE schedule_journal (
    id  BIGINT NOT NULL PRIMARY KEY,
    doc BYTEA  NOT NULL
);

-- Workloads that ended, those of neighbouring numbers together.
CREATE TABLE schedule_packs (
    block BIGINT NOT NULL, -- numbers of workloads, divided by 64
    first BIGINT NOT NULL, -- the first number in it
    n     BIGINT NOT NULL,
    ended BIGINT NOT NULL, -- when the last of them did
    doc   BYTEA  NOT NULL,
    PRIMARY KEY (block, first)
);
CREATE INDEX schedule_packs_ended ON schedule_packs (ended);

-- The blocks in which a tenant has packs.
CREATE TABLE schedule_pack_tenants (
    block  BIGINT NOT NULL,
    tenant TEXT   NOT NULL,
    PRIMARY KEY (block, tenant)
);
CREATE INDEX schedule_pack_tenants_tenant ON schedule_pack_tenants (tenant, block);

INSERT INTO schedule_packs (block, first, n, ended, doc) SELECT num / 64, num, 1, ended, doc FROM schedule_ended;
INSERT INTO schedule_pack_tenants (block, tenant) SELECT DISTINCT num / 64, tenant FROM schedule_ended;
DROP TABLE schedule_ended;

-- +goose Down
CREATE TABLE schedule_ended (
    num    BIGINT NOT NULL PRIMARY KEY,
    tenant TEXT   NOT NULL,
    state  TEXT   NOT NULL,
    ended  BIGINT NOT NULL,
    doc    BYTEA  NOT NULL
);
CREATE INDEX schedule_ended_tenant ON schedule_ended (tenant, num);
CREATE INDEX schedule_ended_ended ON schedule_ended (ended);
DROP TABLE schedule_pack_tenants;
DROP TABLE schedule_packs;
DROP TABLE schedule_journal;
