package plan

import (
	"compress/gzip"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/schedule"
)

// The openb protocol (Alibaba's GPU cluster of 2023; Weng et al., ATC'23): pods
// of a trace, drawn with replacement, arrive one by one until the GPUs that they
// ask for reach 130 % of what there is; none departs, one that does not fit is
// dropped, nothing is migrated.

var traces = []string{"default", "cpu250", "gpushare100", "gpuspec33", "multigpu20"}

// shared opens a file of the reference data, which lies beside the checkout. It
// skips the test where that is absent.
func shared(t testing.TB, name string) [][]string {
	dir, err := filepath.Abs("../../../..")
	if err != nil {
		t.Fatal(err)
	}
	var f *os.File
	for _, root := range []string{dir, filepath.Dir(dir)} {
		f, err = os.Open(filepath.Join(root, "shared", "schedule", filepath.FromSlash(name)))
		if !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		t.Skipf("no reference data beside the checkout: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var r io.Reader = f
	if strings.HasSuffix(name, ".gz") {
		if r, err = gzip.NewReader(f); err != nil {
			t.Fatal(err)
		}
	}
	rows, err := csv.NewReader(r).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	return rows[1:]
}

type openb struct {
	pools   []*schedule.Pool
	devices int64 // thousandths
	pods    []*schedule.Workload
	demand  []Demand
}

var noon = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

func whole(t testing.TB, s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func loadOpenb(t testing.TB, trace string) *openb {
	o := &openb{}
	byModel := map[string]*schedule.Pool{}
	for _, r := range shared(t, "openb/openb_node_list_gpu_node.csv") {
		p := byModel[r[4]]
		if p == nil {
			p = &schedule.Pool{ID: strings.ToLower(r[4]), Facility: "openb", Arch: "amd64", Engine: schedule.EngineNone,
				Accelerator: &schedule.Accelerator{Vendor: "nvidia", Model: r[4], MemoryMiB: 16384, Shareable: true}}
			byModel[r[4]] = p
			o.pools = append(o.pools, p)
		}
		n := schedule.Node{ID: r[0], CPUMilli: whole(t, r[1]), MemoryMiB: whole(t, r[2]), Accelerators: int(whole(t, r[3]))}
		o.devices += int64(n.Accelerators) * schedule.DeviceMilli
		p.Nodes = append(p.Nodes, n)
	}
	kinds := map[string]int{}
	for _, r := range shared(t, "openb/openb_pod_list_"+trace+".csv.gz") {
		task := schedule.Task{Name: "main", Min: 1, Max: 1, P50: time.Hour, P95: time.Hour,
			Use: schedule.Vector{schedule.CPUMilli: whole(t, r[1]), schedule.MemoryMiB: whole(t, r[2])}}
		if n := whole(t, r[3]); n > 0 {
			task.Accelerators = &schedule.Accelerators{Count: int(n), Milli: whole(t, r[4])}
			if len(r) > 5 && r[5] != "" {
				task.Accelerators.Models = strings.Split(r[5], "|")
			}
		}
		o.pods = append(o.pods, &schedule.Workload{ID: r[0], Tenant: "default", Name: r[0], Tasks: []schedule.Task{task}, Gang: schedule.GangNone, Shape: schedule.AnyShape})
		key := fmt.Sprint(r[1:min(6, len(r))])
		i, seen := kinds[key]
		if !seen {
			i = len(o.demand)
			kinds[key] = i
			o.demand = append(o.demand, Demand{Use: task.Use, Accelerators: task.Accelerators})
		}
		o.demand[i].Weight++
	}
	return o
}

func (o *openb) cluster(t testing.TB) *Cluster {
	c := NewCluster(nil)
	c.SetFacility(&schedule.Facility{ID: "openb", Region: "220100", State: schedule.Ready, SecurityGrade: 3, PUE: schedule.PUE{Constant: 1.3}})
	for _, p := range o.pools {
		if err := c.SetPool(p); err != nil {
			t.Fatal(err)
		}
	}
	c.SetDemand(o.demand)
	return c
}

// arrivals are the pods of one run.
func (o *openb) arrivals(seed uint64, upTo float64) []*schedule.Workload {
	rng := rand.New(rand.NewPCG(seed, 0))
	var all []*schedule.Workload
	var asked int64
	for float64(asked) < upTo*float64(o.devices) {
		w := o.pods[rng.IntN(len(o.pods))]
		need := w.Tasks[0].Need()
		asked += need[schedule.AcceleratorMilli]
		all = append(all, w)
	}
	return all
}

// run returns the share of devices that is allocated when what was asked for
// reaches 100 % and 130 %.
func (o *openb) run(t testing.TB, c *Cluster, seed uint64) (at100, at130 float64, decisions int) {
	var asked, given int64
	for _, w := range o.arrivals(seed, 1.3) {
		need := w.Tasks[0].Need()
		asked += need[schedule.AcceleratorMilli]
		d := c.Place(w, noon, nil)
		decisions++
		if len(d.Assignments) > 0 {
			if err := c.Take(d.Assignments); err != nil {
				t.Fatal(err)
			}
			given += need[schedule.AcceleratorMilli]
		}
		if at100 == 0 && asked >= o.devices {
			at100 = 100 * float64(given) / float64(o.devices)
		}
	}
	return at100, 100 * float64(given) / float64(o.devices), decisions
}

// fgd is what FGD reaches at 130 %, mean of the seeds (README of the data), and
// at 100 % where that is told; it has less at 100 % than at 130 %.
var fgd = map[string]struct{ at100, at130 float64 }{
	"default":     {95.39, 95.39},
	"cpu250":      {93.41, 93.41},
	"gpushare100": {86.90, 86.90},
	"gpuspec33":   {87.84, 94.55},
	"multigpu20":  {95.65, 95.65},
}

// TestPackingIsAboveFGD runs the protocol with seeds 42 to 51. The demand is that
// of the trace, which FGD is told as well.
func TestPackingIsAboveFGD(t *testing.T) {
	if testing.Short() {
		t.Skip("thousands of pods in each of ten rounds; make test")
	}
	const last = uint64(51)
	for _, trace := range traces {
		t.Run(trace, func(t *testing.T) {
			o := loadOpenb(t, trace)
			var at100, at130 float64
			for seed := uint64(42); seed <= last; seed++ {
				a, b, _ := o.run(t, o.cluster(t), seed)
				at100, at130 = at100+a, at130+b
			}
			n := float64(last - 41)
			at100, at130 = at100/n, at130/n
			t.Logf("allocated at 100 %%: %.2f, at 130 %%: %.2f", at100, at130)
			if f := fgd[trace]; at100 <= f.at100 || at130 <= f.at130 {
				t.Errorf("%.2f and %.2f are not above FGD, %.2f and %.2f", at100, at130, f.at100, f.at130)
			}
		})
	}
}

// TestPackingWithoutKnowingTheMix learns the demand as pods arrive, every 500.
func TestPackingWithoutKnowingTheMix(t *testing.T) {
	for _, trace := range traces {
		t.Run(trace, func(t *testing.T) {
			if testing.Short() && trace != "default" {
				t.Skip("one trace is enough")
			}
			o := loadOpenb(t, trace)
			c := o.cluster(t)
			c.SetDemand(nil)
			var given int64
			seen := map[*schedule.Workload]int{}
			for i, w := range o.arrivals(42, 1.3) {
				if i%500 == 499 {
					var mix []Demand
					for _, p := range o.pods {
						if n := seen[p]; n > 0 {
							mix = append(mix, Demand{Use: p.Tasks[0].Use, Accelerators: p.Tasks[0].Accelerators, Weight: float64(n)})
						}
					}
					c.SetDemand(together(mix))
				}
				seen[w]++
				d := c.Place(w, noon, nil)
				if err := c.Take(d.Assignments); err != nil {
					t.Fatal(err)
				}
				if len(d.Assignments) > 0 {
					given += d.Assignments[0].Use[schedule.AcceleratorMilli]
				}
			}
			share := 100 * float64(given) / float64(o.devices)
			t.Logf("allocated at 130 %%: %.2f", share)
			if share < fgd[trace].at130-1 {
				t.Errorf("%.2f is more than a point below FGD, which knows the mix: %.2f", share, fgd[trace].at130)
			}
		})
	}
}

// together adds up equal kinds.
func together(ds []Demand) []Demand {
	at := map[string]int{}
	var all []Demand
	for _, d := range ds {
		key := fmt.Sprint(d.Use)
		if a := d.Accelerators; a != nil {
			key += fmt.Sprint(*a)
		}
		i, ok := at[key]
		if !ok {
			i = len(all)
			at[key] = i
			all = append(all, Demand{Use: d.Use, Accelerators: d.Accelerators})
		}
		all[i].Weight += d.Weight
	}
	return all
}
