// Package snmp reads single objects and tables of SNMP agents by version 2c
// and 3. An object that is not there is a fault of the reading, not the end of
// the source.
package snmp

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"time"

	"github.com/gosnmp/gosnmp"

	"github.com/songhua-io/hub/internal/edge/source"
)

const (
	maxRepetitions = 25
	// maxRows bounds a table's walk.
	maxRows = 10_000
)

// New returns the source.
func New(cfg Config, now func() time.Time) source.Source {
	return source.Func(func(ctx context.Context, put source.Put) error {
		client := cfg.client()
		client.Context = ctx
		if err := client.Connect(); err != nil {
			return fmt.Errorf("%s: %w", cfg.target(), err)
		}
		defer client.Close()
		return source.Every(ctx, cfg.Interval.Interval, source.Tagged(put, cfg.Tags), func(ctx context.Context) (source.Record, error) {
			client.Context = ctx
			return read(client, cfg, now())
		})
	})
}

// read takes one reading. It fails when nothing could be read at all.
func read(client *gosnmp.GoSNMP, cfg Config, at time.Time) (source.Record, error) {
	r := source.At(at)
	r.Fault(readValues(client, cfg.Values, r))
	for _, t := range cfg.Tables {
		r.Fault(readTable(client, t, r))
	}
	if len(r.Samples) == 0 && len(r.Faults) > 0 {
		return source.Record{}, fmt.Errorf("%s: %w", cfg.target(), errors.Join(r.Faults...))
	}
	return r.Record, nil
}

func readValues(client *gosnmp.GoSNMP, values []Value, r *source.Reading) error {
	byOID := make(map[string]Value, len(values))
	for len(values) > 0 {
		n := min(len(values), client.MaxOids)
		oids := make([]string, n)
		for i, v := range values[:n] {
			oids[i] = dotted(v.OID)
			byOID[oids[i]] = v
		}
		values = values[n:]
		answer, err := client.Get(oids)
		if err != nil {
			return err
		}
		for _, pdu := range answer.Variables {
			v := byOID[pdu.Name]
			r.Fault(add(r, v, pdu))
		}
	}
	return nil
}

// add adds the value of one object.
func add(r *source.Reading, v Value, pdu gosnmp.SnmpPDU, tags ...string) error {
	f, err := number(pdu)
	if err != nil {
		return fmt.Errorf("%s (%s): %w", v.Name, v.OID, err)
	}
	r.Add(v.Name, v.Unit, f*v.Scale, tags...)
	return nil
}

func readTable(client *gosnmp.GoSNMP, t Table, r *source.Reading) error {
	labels := map[string][]string{} // of each row: names and values in turn
	for _, l := range t.Labels {
		err := walk(client, l.OID, func(row string, pdu gosnmp.SnmpPDU) {
			if value := text(pdu); value != "" {
				labels[row] = append(labels[row], l.Name, value)
			}
		})
		if err != nil {
			return fmt.Errorf("label %s: %w", l.Name, err)
		}
	}
	for _, c := range t.Columns {
		var faults []error
		err := walk(client, c.OID, func(row string, pdu gosnmp.SnmpPDU) {
			tags := labels[row]
			if t.Index != "" {
				tags = append(tags[:len(tags):len(tags)], t.Index, row)
			}
			if err := add(r, c, pdu, tags...); err != nil {
				faults = append(faults, err)
			}
		})
		if err = errors.Join(append(faults, err)...); err != nil {
			r.Fault(err)
		}
	}
	return nil
}

// walk calls visit with the index and the object of every row of a column.
func walk(client *gosnmp.GoSNMP, column string, visit func(row string, pdu gosnmp.SnmpPDU)) error {
	root := dotted(column)
	rows := 0
	err := client.BulkWalk(root, func(pdu gosnmp.SnmpPDU) error {
		if rows++; rows > maxRows {
			return fmt.Errorf("column %s has more than %d rows", column, maxRows)
		}
		if row, ok := strings.CutPrefix(pdu.Name, root+"."); ok {
			visit(row, pdu)
		}
		return nil
	})
	if err == nil && rows == 0 {
		err = fmt.Errorf("column %s has no rows", column)
	}
	return err
}

func dotted(oid string) string { return "." + strings.TrimPrefix(oid, ".") }

// number is the value of an object as a number. TimeTicks are hundredths of a
// second (RFC 2578 section 7.1.8) and come as they are.
func number(pdu gosnmp.SnmpPDU) (float64, error) {
	switch pdu.Type {
	case gosnmp.Integer, gosnmp.Counter32, gosnmp.Gauge32, gosnmp.TimeTicks, gosnmp.Counter64, gosnmp.Uinteger32:
		f, _ := new(big.Float).SetInt(gosnmp.ToBigInt(pdu.Value)).Float64()
		return f, nil
	case gosnmp.OpaqueFloat:
		if f, ok := pdu.Value.(float32); ok {
			return float64(f), nil
		}
	case gosnmp.OpaqueDouble:
		if f, ok := pdu.Value.(float64); ok {
			return f, nil
		}
	case gosnmp.OctetString:
		if f, err := strconv.ParseFloat(strings.TrimSpace(text(pdu)), 64); err == nil {
			return f, nil
		}
	case gosnmp.NoSuchObject, gosnmp.NoSuchInstance, gosnmp.EndOfMibView:
		return 0, errors.New("the SNMP agent has no such object; check the oid and what the user may see")
	}
	return 0, fmt.Errorf("the value %.40q of type %s is no number", text(pdu), pdu.Type)
}

func text(pdu gosnmp.SnmpPDU) string {
	if b, ok := pdu.Value.([]byte); ok {
		return strings.ToValidUTF8(string(b), "?")
	}
	return fmt.Sprint(pdu.Value)
}
