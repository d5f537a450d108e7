package plan

import (
	"slices"
	"time"

	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/signal"
)

// Scorer is one thing that a placement costs. What has no price of its own is
// weighed by the objective of the workload, so that costs add up, in yuan.
type Scorer struct {
	Name string
	Unit string // UCUM, or CNY
	Text schedule.Text
}

// The scorers, by index of Scorers.
const (
	fragmentation = iota
	strandedAccelerator
	strandedCPU
	strandedStorage
	price
	carbon
	transfer
	latency
	wait
	runtime
	failure
	fairness
	disruption
	scarcity
	scorers
)

// Scorers is the closed list of what is scored.
var Scorers = [scorers]Scorer{
	fragmentation: {"fragmentation", "h", schedule.Text{
		ZH: "放置后预期无法被使用的加速卡（卡·小时），按每卡时价格计；度量取自 FGD（Weng 等，ATC'23）",
		EN: "device hours that the members expected can no longer use, at the price of a device hour; the measure is that of FGD (Weng et al., ATC'23)"}},
	strandedAccelerator: {"stranded_accelerator", "h", schedule.Text{
		ZH: "因节点 CPU 不足而闲置的加速卡（卡·小时），按三成计",
		EN: "device hours left without the CPU to use them, of which three in ten count"}},
	strandedCPU: {"stranded_cpu", "h", schedule.Text{
		ZH: "因节点内存不足而闲置的 CPU（核·小时），按三成计",
		EN: "CPU hours left without the memory to use them, of which three in ten count"}},
	strandedStorage: {"stranded_storage", "GiBy.h", schedule.Text{
		ZH: "因节点 CPU 不足而闲置的存储（GiB·小时），按三成计：存算均衡",
		EN: "GiB hours of disk left without the CPU to use them, of which three in ten count"}},
	price: {"price", "CNY", schedule.Text{
		ZH: "电费（电价预测 × PUE × 功率模型）加资源池费率",
		EN: "electricity (forecast of the price x PUE x the power of what is used), and the rate of the pool"}},
	carbon: {"carbon", "kg", schedule.Text{
		ZH: "二氧化碳（碳强度预测 × PUE × 功率模型，绿电份额不计），按目标的碳价计",
		EN: "CO2 (forecast x PUE x the power of what is used, without the green share), at the carbon price of the objective"}},
	transfer: {"transfer", "CNY", schedule.Text{
		ZH: "数据传输费用", EN: "what it costs to move the data"}},
	latency: {"latency", "ms", schedule.Text{
		ZH: "往返时延；用掉全部允许时延每小时计 0.05 元", EN: "the round trip; all of what is allowed costs 0.05 yuan an hour"}},
	wait: {"wait", "h", schedule.Text{
		ZH: "开始前的等待：引擎自身队列与数据复制，按目标的小时价格计",
		EN: "hours until work begins: the engine's own queue, and copying of data, at the hour price of the objective"}},
	runtime: {"runtime", "h", schedule.Text{
		ZH: "运行时间（P50 除以速度），按目标的小时价格计",
		EN: "hours that the work takes (P50 over speed), at the hour price of the objective"}},
	failure: {"failure_risk", "h", schedule.Text{
		ZH: "预期因节点故障重做的小时数，按所费计",
		EN: "hours of work that are expected to be lost with a node, at what they cost"}},
	fairness: {"fairness", "CNY", schedule.Text{
		ZH: "租户已用超出应得份额时，所占资源小时价格的一成，乘以超出比例与资源池占用率",
		EN: "a tenth of the price of the resource hours that are taken, by how much of what the tenant uses is beyond its share, and by how full the pool is"}},
	disruption: {"disruption", "CNY", schedule.Text{
		ZH: "让路任务自检查点以来损失的资源小时，按价格计，优先级每高 100 加一倍",
		EN: "resource hours since the last checkpoint that are lost by work that gives way, at their price, once more for each 100 of its priority"}},
	scarcity: {"scarcity", "CNY", schedule.Text{
		ZH: "所占紧缺容量按时段对其他排队任务的价值：批量优化给出的影子价格",
		EN: "what the capacity that it takes is worth to the others that wait, by the hour: the prices of the batch optimiser"}},
}

// fairShare is what a resource hour beyond the claim of its tenant costs more, as
// a share of its price, where nothing is free.
const fairShare = 0.1

// latencyHour is what a round trip costs an hour that is as long as allowed.
const latencyHour = 0.05

// FailuresPerHour of a node of which nothing better is known: one in 10,000
// hours, as reported of large GPU clusters.
const FailuresPerHour = 1e-4

// terms are the values and the costs of a placement, by scorer.
type terms [scorers]struct{ value, cost float64 }

func (t *terms) sum() float64 {
	var s float64
	for i := range t {
		s += t[i].cost
	}
	return s
}

// grid is what a kWh of computing takes at a facility, PUE included.
type grid struct {
	yuan  float64
	kg    float64 // without the green share
	kWh   float64 // the PUE itself
	plain float64 // kg of a kWh in the zone, without PUE or green share
}

// feed are the series of a zone, nil where there is none, and their means over
// the time that was asked for last: the pools of a decision are asked for one.
type feed struct {
	carbon, price *signal.Series
	start, end    time.Time
	kg, yuan      float64
}

// over returns the means of carbon, per kWh, and price.
func (f *feed) over(start, end time.Time) (kg, yuan float64) {
	if f.start != start || f.end != end {
		f.start, f.end = start, end
		f.kg = meanOr(f.carbon, start, end, fallbackCarbon) / 1000
		f.yuan = meanOr(f.price, start, end, fallbackPrice)
	}
	return f.kg, f.yuan
}

// feed finds the series of all facilities.
func (c *Cluster) feed() {
	if len(c.feeds) == 0 {
		c.zoneFeeds = map[string]*feed{}
	}
	for i := len(c.feeds); i < len(c.facilities); i++ {
		zone := c.facilities[i].def.GridZone
		if c.zoneFeeds[zone] == nil {
			c.zoneFeeds[zone] = &feed{carbon: c.signals.Of(signal.Carbon, zone), price: c.signals.Of(signal.Price, zone)}
		}
		c.feeds = append(c.feeds, c.zoneFeeds[zone])
	}
}

// What counts where no forecast does.
var fallbackCarbon, fallbackPrice = signal.Fallback[signal.Carbon], signal.Fallback[signal.Price]

func meanOr(s *signal.Series, start, end time.Time, fallback float64) float64 {
	mean, known := s.Mean(start, end)
	return mean*known + fallback*(1-known)
}

// gridOver is the mean over a time from start. Where PUE varies with the hour as
// well, the means are multiplied.
func (c *Cluster) gridOver(i int32, start time.Time, hours, load, outdoor float64) grid {
	f := c.facilities[i].def
	end := start.Add(time.Duration(hours * float64(time.Hour)))
	pue := max(f.PUE.Constant, 1)
	if live := c.facilities[i].live; live.PUE > 0 && c.at.Sub(live.At) <= LiveBound {
		pue = live.PUE
	} else if f.PUE.Constant == 0 || f.PUE.Live != "" || len(f.PUE.Load) > 0 || len(f.PUE.Temperature) > 0 {
		pue = c.signals.Overhead(f, start, end, load, outdoor)
	}
	plain, yuan := c.feeds[i].over(start, end)
	return grid{
		yuan:  yuan * pue,
		kg:    plain * pue * (1 - f.GreenShare),
		kWh:   pue,
		plain: plain,
	}
}

// load is the share of a facility's capacity that is in use, by the power that
// it takes.
func (f *facility) load() float64 {
	all := schedule.DefaultPower.Draw(f.cap)
	if all == 0 {
		return 0
	}
	return min(1, schedule.DefaultPower.Draw(f.used)/all)
}

// reach is what a facility is to the users and the data of a workload.
type reach struct {
	millis   float64
	yuan     float64 // of moving the data
	kWh      float64
	gib      float64 // that are moved
	copyTime time.Duration
}

// gb is how many GB a GiB has.
const gb = 1.073741824

// reachOf works out the ways of a workload to a facility. Data of which no holder
// is known comes over the farthest tier.
func (c *Cluster) reachOf(w *schedule.Workload, f *schedule.Facility) reach {
	var r reach
	if w.Latency != nil {
		way, _ := c.way(place{region: w.Latency.FromRegion}, placeOf(f))
		r.millis = way.RoundTripMillis
	}
	for i := range w.Data {
		d := &w.Data[i]
		if d.ReadGiB == 0 || slices.Contains(d.At, f.ID) {
			continue
		}
		best, found := c.tiers.Country, false
		for _, at := range d.At {
			j, ok := c.facilityOf[at]
			if !ok {
				continue
			}
			if way, ok := c.way(placeOf(c.facilities[j].def), placeOf(f)); ok && (!found || cheaper(way, best)) {
				best, found = way, true
			}
		}
		r.gib += d.ReadGiB
		r.yuan += d.ReadGiB * gb * best.CostPerGB
		r.kWh += d.ReadGiB * gb * best.KWhPerGB
		if d.Copy && best.GbitPerSecond > 0 {
			r.copyTime += time.Duration(d.ReadGiB * gb * 8 / best.GbitPerSecond * float64(time.Second))
		}
	}
	return r
}

func cheaper(a, b schedule.Way) bool {
	if a.CostPerGB != b.CostPerGB {
		return a.CostPerGB < b.CostPerGB
	}
	return a.GbitPerSecond > b.GbitPerSecond
}

// bill is what the members of one task in one pool cost besides what packing
// does to their nodes. once is the share of what a workload pays once (moving
// data, waiting) that falls on it.
type bill struct {
	w     *schedule.Workload
	t     *schedule.Task
	n     *need
	p     *pool
	g     grid
	r     reach
	hours float64 // P50 over speed
	wait  time.Duration
	risk  float64 // failures per hour
	once  float64
	// beyond is how much of what its tenant uses is beyond its share.
	beyond float64
}

func (b *bill) energy() float64 { return b.p.power.Draw(b.n.use) * b.hours / 1000 }

// add adds the bill of one member to the terms.
func (b *bill) add(k *terms) {
	o := &b.w.Objective
	energy := b.energy()
	rate := (b.p.def.Rate.CPU*float64(b.n.use[schedule.CPUMilli]) + b.p.def.Rate.Accelerator*float64(b.n.use[schedule.AcceleratorMilli])) / 1000 * b.hours
	cost := energy*b.g.yuan + rate
	kg := energy*b.g.kg + b.r.kWh*b.g.plain*b.once
	delay := (b.wait + b.r.copyTime).Hours()
	lost := b.hours / 2
	if b.t.Interruptible && b.t.Checkpoint > 0 {
		lost = min(lost, b.t.Checkpoint.Hours()/2)
	}
	lost *= min(1, b.risk*b.hours)
	add := func(i int, value, cost float64) { k[i].value += value; k[i].cost += cost }
	add(price, cost, cost)
	add(carbon, kg, kg*o.CarbonPrice)
	add(transfer, b.r.yuan*b.once, b.r.yuan*b.once)
	if b.w.Latency != nil {
		add(latency, b.r.millis*b.once, b.r.millis/b.w.Latency.MaxMillis*latencyHour*b.hours*b.once)
	}
	add(wait, delay*b.once, delay*b.once*o.HourPrice)
	add(runtime, b.hours*b.once, b.hours*b.once*o.HourPrice)
	hour := o.HourPrice * b.once
	if b.hours > 0 {
		hour += cost / b.hours
	}
	add(failure, lost, lost*hour)
}

// addReach adds what a workload pays once for a facility.
func (k *terms) addReach(w *schedule.Workload, r *reach, g *grid) {
	kg := r.kWh * g.plain
	k[carbon].value += kg
	k[carbon].cost += kg * w.Objective.CarbonPrice
	k[transfer].value += r.yuan
	k[transfer].cost += r.yuan
}

// addPacked adds what packing does to a node.
func (k *terms) addPacked(p *pool, d *packed, hours float64) {
	device, cpu := p.deviceHour, p.cpuHour
	add := func(i int, perHour, price float64) {
		k[i].value += perHour * hours
		k[i].cost += perHour * hours * price
	}
	add(fragmentation, float64(d.fragmentation), float64(device))
	add(strandedAccelerator, float64(d.accelerator), strandedShare*float64(device))
	add(strandedCPU, float64(d.cpu), strandedShare*float64(cpu))
	add(strandedStorage, float64(d.storage), strandedShare*storageHour)
}
