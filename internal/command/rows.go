package command

import (
	"context"
	"database/sql"
	"encoding/json"
	"time"

	"github.com/songhua-io/hub/internal/records"
)

const columns = "id, device, rollout, name, params, once, state, reason, result, actor, attempts, ttl, created, expires, sent, received, ended"

func insert(ctx context.Context, tx *sql.Tx, all []*Command) error {
	s, err := tx.PrepareContext(ctx, "INSERT INTO commands ("+columns+") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
	if err != nil {
		return err
	}
	defer s.Close()
	for _, c := range all {
		_, err := s.ExecContext(ctx, c.ID, c.Device, c.Rollout, c.Name, string(c.Params), c.Once, string(c.State), string(c.Reason), string(c.Result),
			c.Actor, c.Attempts, c.TTL.Milliseconds(), records.Millis(c.Created), records.Millis(c.Expires), records.Millis(c.Sent), records.Millis(c.Received), records.Millis(c.Ended))
		if err != nil {
			return err
		}
	}
	return nil
}

// update writes what changes in a command's life. A command whose device was
// removed meanwhile has no row and is passed over.
func update(ctx context.Context, tx *sql.Tx, all []Command) error {
	s, err := tx.PrepareContext(ctx, "UPDATE commands SET state = ?, reason = ?, result = ?, attempts = ?, expires = ?, sent = ?, received = ?, ended = ? WHERE id = ?")
	if err != nil {
		return err
	}
	defer s.Close()
	for i := range all {
		c := &all[i]
		_, err := s.ExecContext(ctx, string(c.State), string(c.Reason), string(c.Result), c.Attempts,
			records.Millis(c.Expires), records.Millis(c.Sent), records.Millis(c.Received), records.Millis(c.Ended), c.ID)
		if err != nil {
			return err
		}
	}
	return nil
}

func scan(rows *sql.Rows) (c Command, err error) {
	var params, result string
	var ttl, created, expires, sent, received, ended int64
	err = rows.Scan(&c.ID, &c.Device, &c.Rollout, &c.Name, &params, &c.Once, &c.State, &c.Reason, &result, &c.Actor, &c.Attempts,
		&ttl, &created, &expires, &sent, &received, &ended)
	c.Params, c.Result, c.TTL = raw(params), raw(result), time.Duration(ttl)*time.Millisecond
	c.Created, c.Expires, c.Sent = records.Time(created), records.Time(expires), records.Time(sent)
	c.Received, c.Ended = records.Time(received), records.Time(ended)
	return c, err
}

func raw(s string) json.RawMessage {
	if s == "" {
		return nil
	}
	return json.RawMessage(s)
}

const rolloutColumns = "id, region, name, rate, canary, failures, state, reason, actor, devices, created, ended"

func insertRollout(ctx context.Context, tx *sql.Tx, r *Rollout) error {
	_, err := tx.ExecContext(ctx, "INSERT INTO rollouts ("+rolloutColumns+") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
		r.ID, r.Region, r.Name, r.Rate, r.Canary, r.Failures, string(r.State), string(r.Reason), r.Actor, r.Devices, records.Millis(r.Created), records.Millis(r.Ended))
	return err
}

func updateRollouts(ctx context.Context, tx *sql.Tx, all []Rollout) error {
	for _, r := range all {
		if _, err := tx.ExecContext(ctx, "UPDATE rollouts SET state = ?, reason = ?, ended = ? WHERE id = ?", string(r.State), string(r.Reason), records.Millis(r.Ended), r.ID); err != nil {
			return err
		}
	}
	return nil
}

func scanRollout(rows *sql.Rows) (r Rollout, err error) {
	var created, ended int64
	err = rows.Scan(&r.ID, &r.Region, &r.Name, &r.Rate, &r.Canary, &r.Failures, &r.State, &r.Reason, &r.Actor, &r.Devices, &created, &ended)
	r.Created, r.Ended = records.Time(created), records.Time(ended)
	return r, err
}
