package api

import (
	"context"
	"fmt"
	"strings"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/schedule"
)

// NetworkIn says how far facilities lie from one another and from regions.
type NetworkIn struct {
	Links []linkIn `json:"links,omitempty" doc:"what was measured or agreed; they hold both ways" maxItems:"20000"`
	Tiers tiersIn  `json:"tiers,omitzero" doc:"where no link says; the usual ones when absent: 1 ms in a city, 5 in a province, 20 in the country"`
}

type linkIn struct {
	From string `json:"from" doc:"a facility, or a division code (GB/T 2260): 220000 counts for all that lies within"`
	To   string `json:"to" doc:"the other end, of the same sort"`
	wayIn
}

type wayIn struct {
	RTT  float64 `json:"rtt_ms" doc:"round trip"`
	Gbit float64 `json:"gbit_per_second"`
	Cost float64 `json:"cost_per_gb,omitempty" doc:"yuan"`
	KWh  float64 `json:"kwh_per_gb,omitempty"`
}

type tiersIn struct {
	City     *wayIn `json:"city,omitempty"`
	Province *wayIn `json:"province,omitempty"`
	Country  *wayIn `json:"country,omitempty"`
}

type networkOut struct {
	NetworkIn
	Version int64 `json:"version" doc:"0: none was declared, and that of the configuration counts"`
}

type oneNetwork struct {
	ETag string `header:"ETag"`
	Body networkOut
}

func (w wayIn) way() schedule.Way {
	return schedule.Way{RoundTripMillis: w.RTT, GbitPerSecond: w.Gbit, CostPerGB: w.Cost, KWhPerGB: w.KWh}
}

func showWay(w schedule.Way) wayIn {
	return wayIn{w.RoundTripMillis, w.GbitPerSecond, w.CostPerGB, w.KWhPerGB}
}

func (in NetworkIn) network() (schedule.Network, error) {
	n := schedule.Network{Tiers: schedule.DefaultTiers}
	for _, l := range in.Links {
		n.Links = append(n.Links, schedule.Link{From: l.From, To: l.To, Way: l.way()})
	}
	for way, to := range map[*wayIn]*schedule.Way{in.Tiers.City: &n.Tiers.City, in.Tiers.Province: &n.Tiers.Province, in.Tiers.Country: &n.Tiers.Country} {
		if way != nil {
			*to = way.way()
		}
	}
	return n, faulty(n.Check(""))
}

func showNetwork(n schedule.Network) networkOut {
	out := networkOut{Version: n.Version}
	for _, l := range n.Links {
		out.Links = append(out.Links, linkIn{l.From, l.To, showWay(l.Way)})
	}
	city, province, country := showWay(n.Tiers.City), showWay(n.Tiers.Province), showWay(n.Tiers.Country)
	out.Tiers = tiersIn{&city, &province, &country}
	return out
}

// getNetwork is for everybody who may see compute, but for links that end at
// facilities of other regions.
func (a *API) getNetwork(ctx context.Context, _ *Conditional) (*oneNetwork, error) {
	n := a.Scheduler.Network()
	if within := region(ctx); within != "" {
		var seen []schedule.Link
		for _, l := range n.Links {
			if a.endSeen(l.From, within) && a.endSeen(l.To, within) {
				seen = append(seen, l)
			}
		}
		n.Links = seen
	}
	return &oneNetwork{etag(n.Version), showNetwork(n)}, nil
}

// endSeen reports whether who is narrowed to a region may know of the end of a
// link: division codes are public.
func (a *API) endSeen(end, within string) bool {
	lies := a.Scheduler.Region(end)
	return lies == "" && divisionCode(end) || lies != "" && strings.HasPrefix(lies, within)
}

// divisionCode reports whether an end of a link is one of GB/T 2260.
func divisionCode(s string) bool {
	return len(s) == 6 && strings.Trim(s, "0123456789") == ""
}

type networkPut struct {
	Conditional
	Body NetworkIn
}

// putNetwork is for those who see all regions: it is of none.
func (a *API) putNetwork(ctx context.Context, in *networkPut) (*oneNetwork, error) {
	version, err := in.version()
	if err != nil {
		return nil, err
	}
	if err := may(ctx, access.WriteFacilities, ""); err != nil {
		return nil, err
	}
	n, err := in.Body.network()
	if err != nil {
		return nil, err
	}
	for i, l := range n.Links {
		for key, end := range map[string]string{"from": l.From, "to": l.To} {
			if !divisionCode(end) && a.Scheduler.Region(end) == "" {
				return nil, fault(fmt.Sprintf("body.links[%d].%s", i, key), end, end+" is neither a facility that is declared nor a division code of six digits (GB/T 2260)")
			}
		}
	}
	old := a.Scheduler.Network()
	var before any
	if old.Version > 0 {
		before = describeNetwork(old)
	}
	n.Version = version
	if _, err := a.Scheduler.PutNetwork(a.noted(ctx, access.WriteFacilities, "network", "", before, describeNetwork(n)), n); err != nil {
		return nil, err
	}
	return a.getNetwork(ctx, &in.Conditional)
}

// describeNetwork is what the record of changes says of a network: all of its
// links would be much.
func describeNetwork(n schedule.Network) any {
	const shown = 100
	out := showNetwork(n).NetworkIn
	return map[string]any{"count": len(out.Links), "links": out.Links[:min(len(out.Links), shown)], "tiers": out.Tiers}
}
