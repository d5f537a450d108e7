package ledger

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"slices"

	"github.com/songhua-io/hub/internal/records"
)

// blockSize is how many numbers go into one pack, at most.
const blockSize = 64

// savePack writes what ended of a block: one record as its document, several as
// the items of a pack.
func (s *statements) savePack(ctx context.Context, memory *statements, pack []*record) error {
	block, first, ended, doc := pack[0].num/blockSize, pack[0].num, pack[0].Since, memory.doc.bytes[:0]
	if len(pack) == 1 {
		doc = memory.doc.append(doc, pack[0], lacksNothing)
	} else {
		for _, r := range pack {
			doc = memory.doc.item(doc, r)
		}
	}
	memory.doc.bytes = doc
	var tenants []string
	for _, r := range pack {
		if ended.Before(r.Since) {
			ended = r.Since
		}
		if !slices.Contains(tenants, r.Tenant) {
			tenants = append(tenants, r.Tenant)
		}
	}
	if _, err := s.pack.ExecContext(ctx, int64(block), int64(first), len(pack), records.Millis(ended), memory.squeeze(doc)); err != nil {
		return err
	}
	for _, t := range tenants {
		if _, err := s.tenant.ExecContext(ctx, int64(block), t); err != nil {
			return err
		}
	}
	return nil
}

// item writes a record into a pack, after what a list selects by.
func (d *document) item(b []byte, r *record) []byte {
	b = binary.AppendUvarint(b, r.num)
	for _, text := range []string{r.Tenant, string(r.State)} {
		b = append(binary.AppendUvarint(b, uint64(len(text))), text...)
	}
	at := len(b)
	b = d.append(append(b, 0, 0, 0, 0), r, lacksNothing)
	binary.LittleEndian.PutUint32(b[at:], uint32(len(b)-at-4))
	return b
}

// unpack returns the records of a pack that select wants.
func unpack(first uint64, n int, doc []byte, selects func(num uint64, tenant, state string) bool) (all []*record, err error) {
	if doc, err = unsqueeze(doc); err != nil {
		return nil, err
	}
	if n == 1 {
		r, err := parseRecord(first, doc)
		if err != nil || !selects(first, r.Tenant, string(r.State)) {
			return nil, err
		}
		return []*record{r}, nil
	}
	for len(doc) > 0 {
		num, size := binary.Uvarint(doc)
		if size <= 0 {
			return nil, errDocument
		}
		var tenant, state []byte
		if tenant, _, doc, err = read(doc[size:], asBytes); err != nil {
			return nil, err
		}
		if state, _, doc, err = read(doc, asBytes); err != nil {
			return nil, err
		}
		if len(doc) < 4 || uint64(len(doc)-4) < uint64(binary.LittleEndian.Uint32(doc)) {
			return nil, errDocument
		}
		end := 4 + int(binary.LittleEndian.Uint32(doc))
		if selects(num, string(tenant), string(state)) {
			r, err := parseRecord(num, doc[4:end])
			if err != nil {
				return nil, err
			}
			all = append(all, r)
		}
		doc = doc[end:]
	}
	return all, nil
}

// packed returns a record from the packs; nil when there is none.
func (l *Ledger) packed(ctx context.Context, num uint64) (found *record, err error) {
	err = l.deps.Records.Each(ctx, func(rows *sql.Rows) error {
		all, err := scanPack(rows, func(n uint64, _, _ string) bool { return n == num })
		if len(all) > 0 {
			found = all[0]
		}
		return err
	}, "SELECT first, n, doc FROM schedule_packs WHERE block = ? AND first <= ?", int64(num/blockSize), int64(num))
	return found, err
}

func scanPack(rows *sql.Rows, selects func(num uint64, tenant, state string) bool) ([]*record, error) {
	var first int64
	var n int
	var doc sql.RawBytes
	if err := rows.Scan(&first, &n, &doc); err != nil {
		return nil, err
	}
	return unpack(uint64(first), n, doc, selects)
}

var errEnough = errors.New("enough was found")

// listPacks returns up to limit records below a number, the newest first.
func (l *Ledger) listPacks(ctx context.Context, f Filter, below uint64, limit int) (all []*record, err error) {
	block := below / blockSize
	query, args := "SELECT first, n, doc FROM schedule_packs WHERE block <= ? ORDER BY block DESC", []any{int64(block)}
	if f.Tenant != "" {
		query, args = "SELECT p.first, p.n, p.doc FROM schedule_pack_tenants AS t JOIN schedule_packs AS p ON p.block = t.block WHERE t.tenant = ? AND t.block <= ? ORDER BY t.block DESC", append([]any{f.Tenant}, args...)
	}
	err = l.deps.Records.Each(ctx, func(rows *sql.Rows) error {
		enough := false
		some, err := scanPack(rows, func(num uint64, tenant, state string) bool {
			if num/blockSize != block { // of the block before all packs are read
				block, enough = num/blockSize, len(all) >= limit
			}
			return !enough && num < below && (f.Tenant == "" || f.Tenant == tenant) && (f.State == "" || string(f.State) == state)
		})
		all = append(all, some...)
		if enough && err == nil {
			err = errEnough
		}
		return err
	}, query, args...)
	if errors.Is(err, errEnough) {
		err = nil
	}
	slices.SortFunc(all, func(a, b *record) int { return cmp.Compare(b.num, a.num) })
	return all[:min(len(all), limit)], err
}
