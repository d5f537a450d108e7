package quality

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"

	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/catalog/register"
	"github.com/songhua-io/hub/internal/registry"
)

// ProviderTag is the tag of a device that names who answers for what it collects,
// by the unified social credit code.
const ProviderTag = "provider"

// Candidate is a device that is to be, or is to measure more.
type Candidate struct {
	ID, Site, Region string
	Lat, Lon         *float64
	// Provider is the credit code in its tag; empty: nobody said.
	Provider string
	// Metrics are what its model says that it measures. Of a device without a model
	// it is not known what it will collect, before it does.
	Metrics []string
}

// Again is the error of a device that would collect again what a published dataset
// shares. Art. 25(2)
type Again struct {
	Device, Metric string
	By             *register.Record
	Metres         float64 // from one that the dataset has; -1: of the same site
}

func (e *Again) Error() string {
	return fmt.Sprintf("device %s would collect %s again, which dataset %s (%s) shares from %s; use that one (`hub grant apply`). If its provider %s runs this device too, give it the tag %s=%[6]s; if it has to be collected again, say why (again)",
		e.Device, e.Metric, e.By.ID, e.By.Document.Title.ZH, e.place("the same site", "a device %.0f m away"), e.By.Document.Provider.Code, ProviderTag)
}

// ZH is Error for people who read Chinese.
func (e *Again) ZH() string {
	return fmt.Sprintf("设备 %s 将重复采集 %s：数据集 %s（%s）已共享%s的该项数据，按一数一源请申请使用（hub grant apply）。若本设备亦由其提供方 %s 运行，请加标签 %s=%[6]s；确需重复采集的，在 again 中写明理由",
		e.Device, e.Metric, e.By.ID, e.By.Document.Title.ZH, e.place("同一站点", "相距 %.0f 米处"), e.By.Document.Provider.Code, ProviderTag)
}

func (e *Again) place(site, away string) string {
	if e.Metres < 0 {
		return site
	}
	return fmt.Sprintf(away, e.Metres)
}

// Devices are the devices and the places they stand at.
type Devices interface {
	Get(id string) (*registry.Device, error)
	Site(id string) (*registry.Site, error)
}

// recent is how far back a series counts as one that a dataset has.
const recent = 30 * 24 * time.Hour

// Again is an *Again for the first of some devices that would collect again what
// a published dataset shares: the same metric, in its region, in the place of a
// device that reported it lately (the same site, or within quality.near metres),
// for another provider than that of the dataset.
func (k *Keeper) Again(ctx context.Context, all []Candidate) error {
	known := map[string]*neighbours{}
	for _, d := range k.sharing() {
		for i := range all {
			c := &all[i]
			if !strings.HasPrefix(c.Region, d.Region) || c.Provider == string(d.Provider.Code) {
				continue
			}
			for _, metric := range c.Metrics {
				if register.ItemOf(d, metric) == nil {
					continue
				}
				key := d.ID + "\x00" + metric
				if known[key] == nil {
					var err error
					if known[key], err = k.neighbours(ctx, d, metric); err != nil {
						return fmt.Errorf("look for what shares %s: %w", metric, err)
					}
				}
				metres, ok := known[key].near(c, k.deps.Devices, k.cfg.Near)
				if !ok {
					continue
				}
				rec, err := k.deps.Register.Get(d.ID)
				if err != nil {
					return err
				}
				return &Again{c.ID, metric, rec, metres}
			}
		}
	}
	return nil
}

// sharing are the published datasets of series that are shared, by their ids.
func (k *Keeper) sharing() (all []*catalog.Dataset) {
	for _, d := range k.deps.Register.Published() {
		if d.Source.Kind == catalog.SourceSeries && d.Share.Class != catalog.None {
			all = append(all, d)
		}
	}
	slices.SortFunc(all, func(a, b *catalog.Dataset) int { return strings.Compare(a.ID, b.ID) })
	return all
}

// neighbours are the devices of a dataset that reported a metric.
type neighbours struct {
	ids   map[string]bool
	sites map[string][]string // devices by site
	at    []standing          // by latitude
}

type standing struct {
	device   string
	lat, lon float64
}

func (k *Keeper) neighbours(ctx context.Context, d *catalog.Dataset, metric string) (*neighbours, error) {
	n := &neighbours{ids: map[string]bool{}, sites: map[string][]string{}}
	selection, err := k.deps.Selection(d)
	if err != nil {
		return nil, err
	}
	ms, err := matchersOf(selection)
	if err != nil {
		return nil, err
	}
	to := k.deps.Clock()
	q, err := k.deps.Store.Querier(to.Add(-recent).UnixMilli(), to.UnixMilli())
	if err != nil {
		return nil, err
	}
	defer q.Close()
	ms = append(ms, labels.MustNewMatcher(labels.MatchEqual, metricLabel, metric))
	set := q.Select(ctx, false, &storage.SelectHints{Start: to.Add(-recent).UnixMilli(), End: to.UnixMilli(), Func: "series"}, ms...)
	for set.Next() && len(n.ids) < k.cfg.MaxSeries {
		id := set.At().Labels().Get("device")
		if n.ids[id] {
			continue
		}
		n.ids[id] = true
		dev, err := k.deps.Devices.Get(id)
		if err != nil {
			continue // it was removed: who comes after it collects nothing twice
		}
		if dev.Site != "" {
			n.sites[dev.Site] = append(n.sites[dev.Site], id)
		}
		if lat, lon, ok := place(k.deps.Devices, dev.Site, dev.Lat, dev.Lon); ok {
			n.at = append(n.at, standing{id, lat, lon})
		}
	}
	slices.SortFunc(n.at, func(a, b standing) int {
		if a.lat < b.lat {
			return -1
		}
		return 1
	})
	return n, set.Err()
}

// place is where something stands: its own place, else its site's.
func place(devices Devices, site string, lat, lon *float64) (float64, float64, bool) {
	if lat != nil && lon != nil {
		return *lat, *lon, true
	}
	if s, err := devices.Site(site); site != "" && err == nil && s.Lat != nil {
		return *s.Lat, *s.Lon, true
	}
	return 0, 0, false
}

// near reports how far from a candidate the nearest of others stands, up to a
// bound in metres; -1 for one of the same site.
func (n *neighbours) near(c *Candidate, devices Devices, most float64) (metres float64, ok bool) {
	if c.Site != "" && slices.ContainsFunc(n.sites[c.Site], func(id string) bool { return id != c.ID }) {
		return -1, true
	}
	lat, lon, known := place(devices, c.Site, c.Lat, c.Lon)
	if !known {
		return 0, false
	}
	const degree = 111_195 // metres of latitude
	metres = math.Inf(1)
	from, _ := slices.BinarySearchFunc(n.at, lat-most/degree, func(s standing, lat float64) int {
		if s.lat < lat {
			return -1
		}
		return 1
	})
	for _, s := range n.at[from:] {
		if s.lat > lat+most/degree {
			break
		}
		if s.device == c.ID {
			continue
		}
		north, east := (s.lat-lat)*degree, (s.lon-lon)*degree*math.Cos(lat*math.Pi/180)
		metres = min(metres, math.Hypot(north, east))
	}
	return metres, metres <= most
}
