package ledger

import (
	"context"
	"database/sql"

	"github.com/songhua-io/hub/internal/records"
)

// statements write the rows of commits, one each: SQLite keeps a second journal
// for a statement that writes several, which costs more than it saves. They are
// compiled once, and Run's alone.
type statements struct {
	live, gone, journal, carried, pack, tenant, keys, commits *sql.Stmt

	events, journalled, small []byte // memory for what a commit writes
	doc                       *document
}

func compile(ctx context.Context, db *records.DB) (*statements, error) {
	s := &statements{doc: &document{}}
	for _, one := range []struct {
		to    **sql.Stmt
		query string
	}{
		{&s.live, "INSERT INTO schedule_live (num, doc) VALUES (?, ?) ON CONFLICT (num) DO UPDATE SET doc = excluded.doc"},
		{&s.gone, "DELETE FROM schedule_live WHERE num = ?"},
		{&s.journal, "INSERT INTO schedule_journal (id, doc) VALUES (?, ?)"},
		{&s.carried, "DELETE FROM schedule_journal WHERE id < ?"},
		{&s.pack, "INSERT INTO schedule_packs (block, first, n, ended, doc) VALUES (?, ?, ?, ?, ?)"},
		{&s.tenant, "INSERT INTO schedule_pack_tenants (block, tenant) VALUES (?, ?) ON CONFLICT (block, tenant) DO NOTHING"},
		{&s.keys, "INSERT INTO schedule_keys (seq, at, keys) VALUES (?, ?, ?)"},
		{&s.commits, "INSERT INTO schedule_commits (seq, first, at, num, token, events) VALUES (?, ?, ?, ?, ?, ?)"},
	} {
		var err error
		if *one.to, err = db.Prepare(ctx, one.query); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// squeeze is squeeze in memory that the next one takes again.
func (s *statements) squeeze(doc []byte) []byte {
	out := squeeze(s.small, doc)
	if len(out) > 0 && out[0] == squeezed {
		s.small = out
	}
	return out
}

// within returns the statements as a transaction takes them.
func (s *statements) within(ctx context.Context, tx *sql.Tx) statements {
	return statements{
		live: tx.StmtContext(ctx, s.live), gone: tx.StmtContext(ctx, s.gone),
		journal: tx.StmtContext(ctx, s.journal), carried: tx.StmtContext(ctx, s.carried), pack: tx.StmtContext(ctx, s.pack), tenant: tx.StmtContext(ctx, s.tenant),
		keys: tx.StmtContext(ctx, s.keys), commits: tx.StmtContext(ctx, s.commits),
	}
}
