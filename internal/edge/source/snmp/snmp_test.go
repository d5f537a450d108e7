package snmp

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/edge/source"
)

// snmpd runs a real agent on loopback and returns its port.
func snmpd(t *testing.T) uint16 {
	t.Helper()
	program, err := exec.LookPath("/usr/sbin/snmpd")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("snmpd is not installed; CI needs it")
		}
		t.Skip("snmpd is not installed")
	}
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := conn.LocalAddr().(*net.UDPAddr).Port
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	conf := fmt.Sprintf("rocommunity songhua 127.0.0.1\nrouser reader authpriv\ncreateUser reader SHA \"authpassword\" AES \"privpassword\"\nsysLocation rack 4\nagentAddress udp:127.0.0.1:%d\npersistentDir %s\n", port, dir)
	file := filepath.Join(dir, "snmpd.conf")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	cmd := exec.Command(program, "-f", "-Lo", "-C", "-c", file, "-p", filepath.Join(dir, "pid"))
	cmd.Env = append(os.Environ(), "SNMP_PERSISTENT_DIR="+dir, "MIBS=")
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(log.String())
		}
	})
	deadline := time.Now().Add(2 * time.Minute)
	for answers(uint16(port)) != nil {
		if time.Now().After(deadline) {
			t.Fatal("snmpd does not answer")
		}
		<-time.After(20 * time.Millisecond)
	}
	return uint16(port)
}

func answers(port uint16) error {
	cfg := config(port)
	cfg.Retries = 0
	client := cfg.client()
	if err := client.Connect(); err != nil {
		return err
	}
	defer client.Close()
	_, err := client.Get([]string{"1.3.6.1.2.1.1.3.0"})
	return err
}

func config(port uint16) Config {
	var c Config
	c.SetDefaults()
	c.Address, c.Port, c.Community = "127.0.0.1", port, "songhua"
	c.Timeout, c.Retries = 500*time.Millisecond, 10
	c.Values = []Value{{OID: "1.3.6.1.2.1.1.3.0", Name: "uptime_seconds", Scale: 0.01}}
	c.Tables = []Table{{
		Index:   "index",
		Labels:  []Label{{OID: "1.3.6.1.2.1.2.2.1.2", Name: "interface"}},
		Columns: []Value{{OID: ".1.3.6.1.2.1.2.2.1.10", Name: "in_bytes", Scale: 1}, {OID: "1.3.6.1.2.1.2.2.1.8", Name: "oper_status", Scale: 1}},
	}}
	return c
}

// first returns the first record of the source.
func first(t *testing.T, cfg Config) (got source.Record, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	err = New(cfg, time.Now).Run(ctx, func(_ context.Context, r source.Record) error {
		got = r
		cancel()
		return nil
	})
	return got, err
}

func TestValuesAndTablesOfARealAgent(t *testing.T) {
	port := snmpd(t)
	v3 := config(port)
	v3.Version = "3"
	v3.User = User{Name: "reader", Auth: "sha", AuthPassword: "authpassword", Priv: "aes", PrivPassword: "privpassword"}
	for name, cfg := range map[string]Config{"2c": config(port), "3": v3} {
		t.Run("version "+name, func(t *testing.T) {
			r, err := first(t, cfg)
			if err != nil || len(r.Faults) > 0 {
				t.Fatal(err, r.Faults)
			}
			seen := map[string]int{}
			loopback := false
			for _, s := range r.Samples {
				seen[string(s.Metric)]++
				for _, tag := range s.Tags {
					loopback = loopback || string(tag.Name) == "interface" && string(tag.Value) == "lo"
				}
			}
			if seen["uptime_seconds"] != 1 || seen["in_bytes"] == 0 || seen["in_bytes"] != seen["oper_status"] || !loopback {
				t.Error(seen, loopback)
			}
		})
	}
}

func TestAnObjectThatIsNotThereCostsOnlyItself(t *testing.T) {
	cfg := config(snmpd(t))
	cfg.Values = append(cfg.Values, Value{OID: "1.3.6.1.4.1.99999.1.0", Name: "absent", Scale: 1}, Value{OID: "1.3.6.1.2.1.1.6.0", Name: "words", Scale: 1})
	r, err := first(t, cfg)
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprint(r.Faults)
	if len(r.Faults) != 2 || !strings.Contains(text, "absent (1.3.6.1.4.1.99999.1.0): the SNMP agent has no such object") || !strings.Contains(text, `"rack 4"`) || len(r.Samples) < 3 {
		t.Error(text, len(r.Samples))
	}
}

func TestAWrongPasswordIsAFailure(t *testing.T) {
	cfg := config(snmpd(t))
	cfg.Community, cfg.Retries, cfg.Timeout = "wrong", 0, 200*time.Millisecond
	if _, err := first(t, cfg); err == nil || !strings.Contains(err.Error(), "timeout") {
		t.Error(err)
	}
}
