package records

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// Bounds of what Answers keeps.
const (
	answersLife  = 24 * time.Hour
	answersCount = 10_000
	answersBytes = 64 << 20
)

// Answers keeps what was answered under a name for 24 hours, at most 10,000
// answers of together 64 MiB; the oldest go first.
type Answers struct {
	DB  *DB
	Now func() time.Time
}

// Get returns the answer under a name with the digest of its question; nils
// when there is none.
func (a Answers) Get(ctx context.Context, name string) (digest, body []byte, err error) {
	err = a.DB.Each(ctx, func(rows *sql.Rows) error { return rows.Scan(&digest, &body) },
		"SELECT digest, body FROM answers WHERE name = ? AND created > ?", name, Millis(a.Now().Add(-answersLife)))
	return digest, body, err
}

// Put keeps an answer.
func (a Answers) Put(ctx context.Context, name string, digest, body []byte) error {
	err := a.DB.Tx(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, `INSERT INTO answers (name, digest, body, created) VALUES (?, ?, ?, ?)
			ON CONFLICT (name) DO UPDATE SET digest = excluded.digest, body = excluded.body, created = excluded.created`,
			name, digest, body, Millis(a.Now())); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `DELETE FROM answers WHERE created <= ? OR name IN (
			SELECT name FROM (SELECT name, row_number() OVER newest AS n, sum(length(body)) OVER newest AS bytes
				FROM answers WINDOW newest AS (ORDER BY created DESC, name)) AS ranked WHERE n > ? OR bytes > ?)`,
			Millis(a.Now().Add(-answersLife)), answersCount, answersBytes)
		return err
	})
	if err != nil {
		return fmt.Errorf("keep an answer: %w", err)
	}
	return nil
}
