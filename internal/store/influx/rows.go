package influx

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
)

// row is a row of an answer to a Flux query.
type row struct {
	schema *schema
	cells  []string // valid until the next row
	// first says that the row is of another table than the one before.
	first bool
}

// schema is what annotations and header say of the columns of the rows below.
type schema struct {
	names, types, defaults []string
	group                  []bool
	table                  int // columns; -1 where there is none
}

func (s *schema) column(name string) int { return slices.Index(s.names, name) }

// cell is what a row has in a column; "" where there is none.
func (r *row) cell(i int) string {
	if i < 0 || i >= len(r.cells) {
		return ""
	}
	if r.cells[i] == "" && i < len(r.schema.defaults) {
		return r.schema.defaults[i]
	}
	return r.cells[i]
}

// rows asks a Flux query and calls each with every row of the answer, as they
// come. The library's own reader makes a map of each row, which costs more than
// what the server does for it.
func (c *Client) rows(ctx context.Context, flux string, each func(*row) error) error {
	body, err := json.Marshal(map[string]any{
		"query": flux, "type": "flux",
		"dialect": map[string]any{"annotations": []string{"datatype", "group", "default"}, "header": true, "delimiter": ","},
	})
	if err != nil {
		return err
	}
	fault := c.post(ctx, c.queryURL, body, func(h http.Header) {
		h.Set("Content-Type", "application/json")
		h.Set("Accept", "application/csv")
	}, func(answer io.Reader) error { return readRows(answer, each) })
	var of ours
	switch {
	case fault == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(fault.Err, &of):
		return of.error
	}
	return c.failure("query", fault)
}

// ours is an error of who reads the rows, and no fault of the server.
type ours struct{ error }

// readRows reads annotated CSV, as InfluxDB writes it.
func readRows(answer io.Reader, each func(*row) error) error {
	in := csv.NewReader(answer)
	in.FieldsPerRecord, in.ReuseRecord = -1, true
	var r row
	var next *schema // of which the header is to come
	failing, table := false, ""
	for {
		cells, err := in.Read()
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return fmt.Errorf("answer: %w", err)
		case len(cells) < 2:
			continue
		case cells[0] != "" && cells[0][0] != '#' || next == nil && r.schema == nil && cells[0] == "":
			return fmt.Errorf("the answer is not of InfluxDB, but begins %q", clip(strings.Join(cells, ",")))
		case cells[0] != "":
			if next == nil {
				next = &schema{}
			}
			next.annotate(cells)
			continue
		case next != nil:
			r.schema, next = next, nil
			r.schema.names = slices.Clone(cells)
			r.schema.table = r.schema.column("table")
			table, failing = "", cells[1] == "error"
			continue
		case failing:
			return fmt.Errorf("the query failed: %s", cells[1])
		}
		r.cells = cells
		if at := r.cell(r.schema.table); at != table || table == "" {
			table, r.first = at, true
		} else {
			r.first = false
		}
		if err := each(&r); err != nil {
			return ours{err}
		}
	}
}

func (s *schema) annotate(cells []string) {
	switch cells[0] {
	case "#datatype":
		s.types = slices.Clone(cells)
	case "#default":
		s.defaults = slices.Clone(cells)
	case "#group":
		s.group = make([]bool, len(cells))
		for i, c := range cells {
			s.group[i] = c == "true"
		}
	}
}
