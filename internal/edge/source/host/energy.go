package host

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/songhua-io/hub/internal/edge/source"
)

// energy adds up the RAPL counters of the powercap file system, which count
// microjoules and wrap.
type energy struct {
	dir     string
	domains map[string]*domain
}

type domain struct{ last, sum, wrap uint64 }

func newEnergy(dir string) *energy { return &energy{dir: dir, domains: map[string]*domain{}} }

// read adds the energy of each domain since the first reading. Domains that
// this user may not read are left out.
func (e *energy) read(_ context.Context, r *source.Reading) error {
	zones, err := filepath.Glob(filepath.Join(e.dir, "intel-rapl:*"))
	if err != nil {
		return err
	}
	for _, z := range zones {
		count, ok := number(z, "energy_uj")
		if !ok {
			continue
		}
		d := e.domains[z]
		if d == nil {
			wrap, _ := number(z, "max_energy_range_uj")
			d = &domain{last: count, wrap: wrap}
			e.domains[z] = d
		}
		d.advance(count)
		r.Add("host_energy_joules_total", "J", float64(d.sum)/1e6, "domain", zoneName(z))
	}
	return nil
}

func (d *domain) advance(count uint64) {
	if count >= d.last {
		d.sum += count - d.last
	} else if d.wrap > d.last {
		d.sum += d.wrap - d.last + count
	}
	d.last = count
}

// zoneName joins the names of a zone and the one around it: package-0/dram.
func zoneName(zone string) string {
	name := text(zone, "name")
	if base := filepath.Base(zone); strings.Count(base, ":") > 1 {
		outer := filepath.Join(filepath.Dir(zone), base[:strings.LastIndexByte(base, ':')])
		return text(outer, "name") + "/" + name
	}
	return name
}

func text(dir, file string) string {
	b, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return filepath.Base(dir)
	}
	return strings.TrimSpace(string(b))
}

func number(dir, file string) (uint64, bool) {
	b, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	return n, err == nil
}
