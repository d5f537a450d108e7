// Package host reads the machine that the agent runs on. What the machine does
// not have, such as temperatures, is left out and is no failure.
package host

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/shirou/gopsutil/v4/cpu"
	"github.com/shirou/gopsutil/v4/disk"
	gohost "github.com/shirou/gopsutil/v4/host"
	"github.com/shirou/gopsutil/v4/load"
	"github.com/shirou/gopsutil/v4/mem"
	"github.com/shirou/gopsutil/v4/net"
	"github.com/shirou/gopsutil/v4/process"
	"github.com/shirou/gopsutil/v4/sensors"

	"github.com/songhua-io/hub/internal/config/strict"
	"github.com/songhua-io/hub/internal/edge/source"
	"github.com/songhua-io/hub/internal/edge/source/pattern"
)

// Config says what to read.
type Config struct {
	// Enabled turns the source on.
	Enabled bool `yaml:"enabled"`
	source.Common
	source.Interval
	// Mounts are the mount points to report; empty means every real file system.
	Mounts []string `yaml:"mounts"`
	// IgnoreInterfaces are the network interfaces to leave out, with * for any text.
	IgnoreInterfaces []string `yaml:"ignore_interfaces"`
	// IgnoreDisks are the disks to leave out, with * for any text.
	IgnoreDisks []string `yaml:"ignore_disks"`
	// Cores adds the load of every single processor.
	Cores bool `yaml:"cores"`
}

// DefaultConfig reads everything every 10 s.
func DefaultConfig() Config {
	return Config{
		Enabled:          true,
		Interval:         source.Interval{Interval: 10 * time.Second},
		IgnoreInterfaces: []string{"lo", "veth*", "docker*", "br-*", "cali*", "flannel*"},
		IgnoreDisks:      []string{"loop*", "ram*", "zram*"},
		Cores:            true,
	}
}

// Check reports values that cannot be used.
func (c Config) Check(path string) []strict.Error {
	errs := append(c.CheckInterval(path), c.CheckTags(path)...)
	for key, list := range map[string][]string{"ignore_interfaces": c.IgnoreInterfaces, "ignore_disks": c.IgnoreDisks} {
		for _, p := range list {
			if !pattern.Valid(p) {
				errs = append(errs, strict.Fault(path, key, "%q is no pattern; write letters, * and ?", p))
			}
		}
	}
	return errs
}

// New returns the source.
func New(cfg Config, now func() time.Time) source.Source {
	h := &host{cfg: cfg, now: now, energy: newEnergy("/sys/class/powercap")}
	return source.Func(func(ctx context.Context, put source.Put) error {
		return source.Every(ctx, cfg.Interval.Interval, source.Tagged(put, cfg.Tags), h.read)
	})
}

type host struct {
	cfg    Config
	now    func() time.Time
	energy *energy
	total  cpu.TimesStat
	cores  []cpu.TimesStat
}

// read takes one reading. A part that fails is a fault of the record.
func (h *host) read(ctx context.Context) (source.Record, error) {
	r := source.At(h.now())
	for _, part := range []func(context.Context, *source.Reading) error{
		h.readCPU, h.readCores, readLoad, readMemory, readSwap, h.readFilesystems, h.readDisks, h.readNetwork, readTemperatures, readUptime, readProcesses, h.energy.read,
	} {
		r.Fault(part(ctx, r))
	}
	return r.Record, nil
}

func (h *host) readCPU(ctx context.Context, r *source.Reading) error {
	all, err := cpu.TimesWithContext(ctx, false)
	if err != nil || len(all) == 0 {
		return err
	}
	if p, ok := busy(h.total, all[0]); ok {
		r.Add("host_cpu_percent", "%", p)
	}
	h.total = all[0]
	return nil
}

func (h *host) readCores(ctx context.Context, r *source.Reading) error {
	cores, err := cpu.TimesWithContext(ctx, true)
	if err != nil {
		return err
	}
	r.Add("host_cpu_count", "1", float64(len(cores)))
	if h.cfg.Cores && len(h.cores) == len(cores) {
		for i, c := range cores {
			if p, ok := busy(h.cores[i], c); ok {
				r.Add("host_cpu_core_percent", "%", p, "cpu", strings.TrimPrefix(c.CPU, "cpu"))
			}
		}
	}
	h.cores = cores
	return nil
}

// busy is the part of the time between two readings in which the processor did
// not idle, in percent; false when no time passed.
func busy(before, after cpu.TimesStat) (float64, bool) {
	sum := func(t cpu.TimesStat) (idle, all float64) {
		idle = t.Idle + t.Iowait
		return idle, idle + t.User + t.Nice + t.System + t.Irq + t.Softirq + t.Steal
	}
	idle0, all0 := sum(before)
	idle1, all1 := sum(after)
	if before.CPU == "" || all1 <= all0 {
		return 0, false
	}
	return min(100, max(0, 100*(1-(idle1-idle0)/(all1-all0)))), true
}

func readLoad(ctx context.Context, r *source.Reading) error {
	l, err := load.AvgWithContext(ctx)
	if err != nil {
		return err
	}
	r.Add("host_load1", "1", l.Load1)
	r.Add("host_load5", "1", l.Load5)
	r.Add("host_load15", "1", l.Load15)
	return nil
}

func readMemory(ctx context.Context, r *source.Reading) error {
	m, err := mem.VirtualMemoryWithContext(ctx)
	if err != nil {
		return err
	}
	r.Add("host_memory_total_bytes", "By", float64(m.Total))
	r.Add("host_memory_used_bytes", "By", float64(m.Total-min(m.Total, m.Available)))
	r.Add("host_memory_available_bytes", "By", float64(m.Available))
	return nil
}

func readSwap(ctx context.Context, r *source.Reading) error {
	s, err := mem.SwapMemoryWithContext(ctx)
	if err != nil {
		return err
	}
	r.Add("host_swap_total_bytes", "By", float64(s.Total))
	r.Add("host_swap_used_bytes", "By", float64(s.Used))
	return nil
}

func (h *host) readFilesystems(ctx context.Context, r *source.Reading) error {
	mounts := h.cfg.Mounts
	if len(mounts) == 0 {
		var err error
		if mounts, err = realMounts(ctx); err != nil {
			return err
		}
	}
	for _, m := range mounts {
		u, err := disk.UsageWithContext(ctx, m)
		if err != nil {
			r.Fault(err)
			continue
		}
		if u.Total == 0 {
			continue
		}
		r.Add("host_disk_total_bytes", "By", float64(u.Total), "mount", m)
		r.Add("host_disk_used_bytes", "By", float64(u.Used), "mount", m)
		r.Add("host_disk_used_percent", "%", u.UsedPercent, "mount", m)
		if u.InodesTotal > 0 {
			r.Add("host_disk_inodes_used_percent", "%", u.InodesUsedPercent, "mount", m)
		}
	}
	return nil
}

// realMounts lists the directories on which a device is mounted, each device
// once, and "/" in any case: in a container it is no device.
func realMounts(ctx context.Context) ([]string, error) {
	parts, err := disk.PartitionsWithContext(ctx, false)
	if err != nil {
		return nil, err
	}
	mounts, seen := []string{"/"}, map[string]bool{}
	for _, p := range parts {
		if p.Mountpoint == "/" {
			seen[p.Device] = true
		}
	}
	for _, p := range parts {
		if !seen[p.Device] && !slices.Contains(p.Opts, "bind") {
			seen[p.Device] = true
			mounts = append(mounts, p.Mountpoint)
		}
	}
	return mounts, nil
}

func (h *host) readDisks(ctx context.Context, r *source.Reading) error {
	disks, err := disk.IOCountersWithContext(ctx)
	if err != nil {
		return err
	}
	for name, d := range disks {
		if pattern.Any(h.cfg.IgnoreDisks, name) {
			continue
		}
		r.Add("host_disk_read_bytes_total", "By", float64(d.ReadBytes), "disk", name)
		r.Add("host_disk_written_bytes_total", "By", float64(d.WriteBytes), "disk", name)
		r.Add("host_disk_reads_total", "1", float64(d.ReadCount), "disk", name)
		r.Add("host_disk_writes_total", "1", float64(d.WriteCount), "disk", name)
		r.Add("host_disk_io_seconds_total", "s", float64(d.IoTime)/1000, "disk", name)
	}
	return nil
}

func (h *host) readNetwork(ctx context.Context, r *source.Reading) error {
	nics, err := net.IOCountersWithContext(ctx, true)
	if err != nil {
		return err
	}
	for _, n := range nics {
		if pattern.Any(h.cfg.IgnoreInterfaces, n.Name) {
			continue
		}
		for metric, v := range map[string]uint64{
			"receive_packets_total": n.PacketsRecv, "transmit_packets_total": n.PacketsSent,
			"receive_errors_total": n.Errin, "transmit_errors_total": n.Errout,
			"receive_drops_total": n.Dropin, "transmit_drops_total": n.Dropout,
		} {
			r.Add("host_network_"+metric, "1", float64(v), "interface", n.Name)
		}
		r.Add("host_network_receive_bytes_total", "By", float64(n.BytesRecv), "interface", n.Name)
		r.Add("host_network_transmit_bytes_total", "By", float64(n.BytesSent), "interface", n.Name)
	}
	return nil
}

// readTemperatures leaves out sensors that cannot be read: many machines have
// some that never answer.
func readTemperatures(ctx context.Context, r *source.Reading) error {
	temps, _ := sensors.TemperaturesWithContext(ctx)
	seen := map[string]bool{}
	for _, t := range temps {
		if t.Temperature == 0 || seen[t.SensorKey] {
			continue
		}
		seen[t.SensorKey] = true
		r.Add("host_temperature_celsius", "Cel", t.Temperature, "sensor", t.SensorKey)
	}
	return nil
}

func readUptime(ctx context.Context, r *source.Reading) error {
	up, err := gohost.UptimeWithContext(ctx)
	if err != nil {
		return err
	}
	r.Add("host_uptime_seconds", "s", float64(up))
	return nil
}

func readProcesses(ctx context.Context, r *source.Reading) error {
	pids, err := process.PidsWithContext(ctx)
	if err != nil {
		return err
	}
	r.Add("host_processes", "1", float64(len(pids)))
	return nil
}
