package publish

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/records"
)

// Made is a version that was made because of a ticket.
type Made struct {
	Dataset           string
	Version, Replaces int64
	Period            catalog.Period
	Released          time.Time
	Reason            catalog.Text
	// Told is when each destination had it first; who is not in it has not.
	Told map[string]time.Time
}

// MadeFor are the versions that are out because of a ticket, in the order in which
// they were made. Art. 27
func (p *Publisher) MadeFor(ctx context.Context, ticket string) (all []Made, err error) {
	pubs, err := p.publications(ctx, "(dataset, version) IN (SELECT dataset, version FROM release_tickets WHERE ticket = ?) AND released > 0 ORDER BY released, dataset, version", ticket)
	if err != nil {
		return nil, err
	}
	told := map[ref]map[string]time.Time{}
	err = p.deps.Records.Each(ctx, func(rows *sql.Rows) error {
		var of ref
		var destination string
		var at int64
		if err := rows.Scan(&of.Dataset, &of.Version, &destination, &at); err != nil {
			return err
		}
		if told[of] == nil {
			told[of] = map[string]time.Time{}
		}
		told[of][destination] = records.Time(at)
		return nil
	}, "SELECT t.dataset, t.version, t.destination, t.told FROM release_told t JOIN release_tickets r ON r.dataset = t.dataset AND r.version = t.version WHERE r.ticket = ?", ticket)
	if err != nil {
		return nil, fmt.Errorf("read who was told of ticket %s: %w", ticket, err)
	}
	for _, pub := range pubs {
		all = append(all, Made{Dataset: pub.Dataset.ID, Version: pub.Version, Replaces: pub.Replaces, Period: pub.Period, Released: pub.Released, Reason: pub.Reason, Told: told[ref{pub.Dataset.ID, pub.Version}]})
	}
	return all, nil
}

// Told returns a context whose transaction also notes that a destination has a dataset
// as it is with a version: those up to it that were made because of tickets have
// reached it by then.
func Told(ctx context.Context, destination, dataset string, version int64, at time.Time) context.Context {
	return records.Also(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT OR IGNORE INTO release_told (dataset, version, destination, told)
			SELECT DISTINCT dataset, version, ?, ? FROM release_tickets WHERE dataset = ? AND version <= ?`, destination, records.Millis(at), dataset, version)
		if err != nil {
			return fmt.Errorf("note that %s was told of version %d of dataset %s: %w", destination, version, dataset, err)
		}
		return nil
	})
}

// keepTickets notes for which tickets a version is made.
func (pub *publication) keepTickets(ctx context.Context, tx *sql.Tx) error {
	for _, ticket := range pub.tickets {
		if _, err := tx.ExecContext(ctx, "INSERT INTO release_tickets (dataset, version, ticket) VALUES (?, ?, ?)", pub.Dataset.ID, pub.Version, ticket); err != nil {
			return err
		}
	}
	return nil
}

// answered tells the tickets of a version that it is out.
func (p *Publisher) answered(ctx context.Context, pub *publication) error {
	var tickets []string
	err := p.deps.Records.Each(ctx, func(rows *sql.Rows) error {
		var ticket string
		err := rows.Scan(&ticket)
		tickets = append(tickets, ticket)
		return err
	}, "SELECT ticket FROM release_tickets WHERE dataset = ? AND version = ?", pub.Dataset.ID, pub.Version)
	if err != nil {
		return err
	}
	for _, ticket := range tickets {
		if err := p.deps.Answered(ctx, ticket); err != nil {
			return fmt.Errorf("version %d of dataset %s is released; tell ticket %s: %w", pub.Version, pub.Dataset.ID, ticket, err)
		}
	}
	return nil
}

// ticketsOf are those that a version is made for: the one of its order, and those
// of corrections that it is the first to be made with.
func ticketsOf(order string, corrections []Correction) (all []string) {
	if order != "" {
		all = append(all, order)
	}
	for i := range corrections {
		if t := corrections[i].Ticket; t != "" {
			all = append(all, t)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// naming adds to a reason for which tickets it is. The number says nothing of who
// filed one.
func naming(reason catalog.Text, tickets []string) catalog.Text {
	if len(tickets) == 0 || reason == (catalog.Text{}) {
		return reason
	}
	zh, en := strings.Join(tickets[:min(len(tickets), maxNamed)], "、"), strings.Join(tickets[:min(len(tickets), maxNamed)], ", ")
	if n := len(tickets) - maxNamed; n > 0 {
		zh, en = fmt.Sprintf("%s 等 %d 件", zh, len(tickets)), fmt.Sprintf("%s and %d more", en, n)
	}
	return catalog.Text{ZH: reason.ZH + "（工单 " + zh + "）", EN: reason.EN + " (ticket " + en + ")"}
}
