package audit

import (
	"context"
	"database/sql"
	"strings"
	"time"
)

// Filter chooses entries; zero fields choose all.
type Filter struct {
	Region        string // prefix of division codes
	Since, Until  time.Time
	Actor, Action string
	Object        string // a part of it
	Origin        string
}

// where returns the conditions of a query and their arguments.
func (f Filter) where() (string, []any) {
	conditions, args := []string{"1 = 1"}, []any{}
	add := func(set bool, condition string, values ...any) {
		if set {
			conditions, args = append(conditions, condition), append(args, values...)
		}
	}
	add(f.Region != "", "substr(region, 1, length(?)) = ?", f.Region, f.Region)
	add(!f.Since.IsZero(), "at >= ?", f.Since.UnixMilli())
	add(!f.Until.IsZero(), "at < ?", f.Until.UnixMilli())
	add(f.Actor != "", "actor = ?", f.Actor)
	add(f.Action != "", "action = ?", f.Action)
	add(f.Object != "", "instr(object, ?) > 0", f.Object)
	add(f.Origin != "", "origin = ?", f.Origin)
	return strings.Join(conditions, " AND "), args
}

// List returns up to limit entries, the newest first, that lie before number
// before; 0 begins with the newest.
func (l *Log) List(ctx context.Context, f Filter, before int64, limit int) (page []Entry, err error) {
	where, args := f.where()
	if before > 0 {
		where, args = where+" AND seq < ?", append(args, before)
	}
	err = l.each(ctx, func(e Entry) error { page = append(page, e); return nil }, where+" ORDER BY seq DESC LIMIT ?", append(args, limit)...)
	return page, err
}

func (l *Log) each(ctx context.Context, take func(Entry) error, where string, args ...any) error {
	return l.o.Records.Each(ctx, func(rows *sql.Rows) error {
		e, err := scan(rows)
		if err != nil {
			return err
		}
		return take(e)
	}, "SELECT "+columns+" FROM audit WHERE "+where, args...)
}
