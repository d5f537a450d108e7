package slurm

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// cluster is a real Slurm of one node on loopback, with its slurmrestd.
type cluster struct {
	dir string // that everybody may write to
	url string
}

// nobody is who jobs run as: slurmrestd refuses to be root.
const nobody = 65534

// newCluster starts Slurm, or skips the test where there is none.
func newCluster(t *testing.T) *cluster {
	t.Helper()
	missing := ""
	for _, p := range []string{"slurmctld", "slurmd", "slurmrestd", "sinfo"} {
		if _, err := exec.LookPath(p); err != nil {
			missing += " " + p
		}
	}
	if os.Getuid() != 0 {
		missing += " root"
	}
	if missing != "" {
		if os.Getenv("CI") == "true" {
			t.Fatalf("this needs%s; scripts/install-test-tools installs the programs", missing)
		}
		t.Skipf("this needs%s; scripts/install-test-tools installs the programs", missing)
	}
	dir, err := os.MkdirTemp("", "slurm")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	c := &cluster{dir: dir, url: "unix://" + dir + "/rest"}
	for _, d := range []string{".", "state", "spool"} {
		_ = os.Mkdir(filepath.Join(dir, d), 0o755)
		if err := os.Chmod(filepath.Join(dir, d), 0o777); err != nil {
			t.Fatal(err)
		}
	}
	c.configure(t)
	c.run(t, 0, "slurmctld", "-D", "-c")
	c.run(t, 0, "slurmd", "-D", "-c")
	c.until(t, "an idle node", func() bool {
		cmd := exec.Command("sinfo", "-h", "-o", "%T")
		cmd.Env = c.env()
		out, _ := cmd.Output()
		return strings.TrimSpace(string(out)) == "idle"
	})
	c.run(t, nobody, "slurmrestd", "-s", "openapi/v0.0.38", "-a", "rest_auth/local", "unix:"+dir+"/rest")
	c.until(t, "slurmrestd", func() bool {
		r, err := newRest(Config{URL: c.url})
		if err != nil {
			t.Fatal(err)
		}
		_, err = r.jobs(t.Context())
		return err == nil
	})
	return c
}

// port is one that is free now: Slurm cannot choose its own.
func port(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // a test
	return l.Addr().(*net.TCPAddr).Port
}

func (c *cluster) configure(t *testing.T) {
	t.Helper()
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	host, _, _ = strings.Cut(host, ".")
	conf := fmt.Sprintf(`ClusterName=test
SlurmctldHost=%[1]s(127.0.0.1)
SlurmUser=root
SlurmdUser=root
SlurmctldPort=%[3]d
SlurmdPort=%[4]d
AuthType=auth/none
CredType=cred/none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SchedulerParameters=sched_min_interval=0
StateSaveLocation=%[2]s/state
SlurmdSpoolDir=%[2]s/spool
SlurmctldPidFile=%[2]s/slurmctld.pid
SlurmdPidFile=%[2]s/slurmd.pid
MailProg=/bin/true
ReturnToService=2
NodeName=%[1]s NodeAddr=127.0.0.1 CPUs=16 RealMemory=4096 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
`, host, c.dir, port(t), port(t))
	if err := os.WriteFile(filepath.Join(c.dir, "slurm.conf"), []byte(conf), 0o644); err != nil {
		t.Fatal(err)
	}
}

// env is that of this test, with another slurm.conf and without a token.
func (c *cluster) env() []string {
	all := []string{"SLURM_CONF=" + filepath.Join(c.dir, "slurm.conf")}
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "SLURM_") {
			all = append(all, e)
		}
	}
	return all
}

// run runs a program until the test ends.
func (c *cluster) run(t *testing.T, uid uint32, name string, args ...string) {
	t.Helper()
	log, err := os.Create(filepath.Join(c.dir, name+".log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(name, args...)
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = c.env(), c.dir, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		kill := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait()
		kill.Stop()
		_ = log.Close()
		if t.Failed() {
			said, _ := os.ReadFile(log.Name())
			t.Logf("%s:\n%s", name, said[max(0, len(said)-4000):])
		}
	})
}

func (c *cluster) until(t *testing.T, what string, is func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for !is() {
		select {
		case <-ctx.Done():
			t.Fatalf("%s has not come", what)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
