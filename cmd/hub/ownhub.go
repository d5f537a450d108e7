package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// cpuSeconds is what the hub's process has spent so far (proc(5), fields 14 and
// 15 of stat, in hundredths of a second); 0 where that cannot be read.
func cpuSeconds(o *ownHub) float64 {
	if o == nil {
		return 0
	}
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", o.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(data), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.ParseFloat(fields[11], 64)
	system, _ := strconv.ParseFloat(fields[12], 64)
	return (user + system) / 100
}

// residentMemory is the hub's VmRSS, as the kernel writes it.
func residentMemory(o *ownHub) string {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", o.cmd.Process.Pid))
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(data)) {
		if value, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}
