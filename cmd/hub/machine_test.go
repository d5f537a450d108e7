package main

import (
	"strings"
	"testing"

	"github.com/songhua-io/hub/internal/edge"
	"github.com/songhua-io/hub/internal/model"
)

// TestTheModelOfAgents: a hub that has it refuses what no agent would do, before
// it is sent.
func TestTheModelOfAgents(t *testing.T) {
	m, err := model.Parse(edge.Model())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ config, says string }{
		{`{"sources": {"host": {"interval": "5s", "mounts": ["/"], "cores": false}, "gpu": null}, "tags": {"room": "a"}, "status_interval": "30s"}`, ""},
		{`{"sources": {"modbus": [{"address": "10.0.0.9:502", "interval": "1m30s", "units": [{"id": 1}]}], "exec": [{"command": ["count"]}]}}`, ""},
		{`{"sources": {"host": {"interval": "five"}}}`, "interval"},
		{`{"sources": {"host": {"intervall": "5s"}}}`, "intervall"},
		{`{"sources": {"hots": {}}}`, "hots"},
		{`{"sources": {"modbus": {}}}`, "modbus"},
		{`{"uplink": {"url": "mqtt://evil"}}`, "uplink"},
		{`{"data": "/"}`, "data"},
	} {
		if err := m.Configuration([]byte(c.config)); (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.config, err)
		}
	}
	for _, c := range []struct {
		name, params string
		ok           bool
	}{
		{"ping", "", true}, {"restart_source", `{"source": "host"}`, true}, {"restart_source", "", false},
		{"work.start", `{"workload": "w-1", "lease": "l-1", "token": 18446744073709551615, "total": 2, "programs": {"main": {"command": ["/bin/true"], "env": {"A": "b"}}},
			"members": [{"task": "main", "index": 0, "devices": [0, 1], "cpu_milli": 1500, "limit_seconds": 0.5}], "hold": true}`, true},
		{"work.start", `{"workload": "w-1", "lease": "l-1", "token": 7, "total": 1, "programs": {}, "members": [], "hold": 1}`, false},
		{"work.start", `{"workload": "w-1", "lease": "l-1", "token": "7", "total": 1, "programs": {}, "members": []}`, false},
		{"work.stop", `{"workload": "w-1", "lease": "l-1", "token": 7}`, true}, {"work.list", "{}", true}, {"work.list", `{"all": true}`, false},
		{"flush", `{"all": true}`, false}, {"exec", `{"command": ["id"]}`, false},
	} {
		if err := m.Command(c.name, []byte(c.params)); (err == nil) != c.ok {
			t.Errorf("%s %s: %v", c.name, c.params, err)
		}
	}
}
