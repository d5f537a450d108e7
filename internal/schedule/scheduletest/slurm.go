package scheduletest

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

	"github.com/songhua-io/hub/internal/hubtest/freeport"
)

// Cluster is a real Slurm of one node on loopback, with its slurmrestd.
type Cluster struct {
	Dir string // that everybody may write to
	URL string // of slurmrestd, a socket

	t       *testing.T
	running map[string]func() // end a program, by its name
}

// nobody is who jobs run as: slurmrestd refuses to be root.
const nobody = 65534

// NewCluster starts Slurm, or skips the test where there is none.
func NewCluster(t *testing.T) *Cluster {
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
	c := &Cluster{Dir: dir, URL: "unix://" + dir + "/rest", t: t, running: map[string]func(){}}
	for _, d := range []string{".", "state", "spool"} {
		_ = os.Mkdir(filepath.Join(dir, d), 0o755)
		if err := os.Chmod(filepath.Join(dir, d), 0o777); err != nil {
			t.Fatal(err)
		}
	}
	c.configure()
	for _, name := range []string{"slurmctld", "slurmd"} {
		c.Start(name)
	}
	c.Until("an idle node", func() bool {
		cmd := exec.Command("sinfo", "-h", "-o", "%T")
		cmd.Env = c.env()
		out, _ := cmd.Output()
		return strings.TrimSpace(string(out)) == "idle"
	})
	c.Start("slurmrestd")
	c.Until("slurmrestd", func() bool {
		conn, err := net.Dial("unix", dir+"/rest")
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
	return c
}

// Start starts slurmctld, slurmd or slurmrestd, until Stop or the end of the
// test. What they knew, they know again.
func (c *Cluster) Start(name string) {
	c.t.Helper()
	switch name {
	case "slurmrestd":
		_ = os.Remove(c.Dir + "/rest")
		c.run(nobody, name, "-s", "openapi/v0.0.38", "-a", "rest_auth/local", "unix:"+c.Dir+"/rest")
	default:
		c.run(0, name, "-D")
	}
}

// Stop ends one. slurmctld saves what it knows of jobs; killed, it would lose
// what is younger than some seconds, and with it that a job runs.
func (c *Cluster) Stop(name string) {
	c.t.Helper()
	c.running[name]()
}

func (c *Cluster) configure() {
	c.t.Helper()
	host, err := os.Hostname()
	if err != nil {
		c.t.Fatal(err)
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
`, host, c.Dir, freeport.New(c.t), freeport.New(c.t))
	if err := os.WriteFile(filepath.Join(c.Dir, "slurm.conf"), []byte(conf), 0o644); err != nil {
		c.t.Fatal(err)
	}
}

// env is that of this test, with another slurm.conf and without a token.
func (c *Cluster) env() []string {
	all := []string{"SLURM_CONF=" + filepath.Join(c.Dir, "slurm.conf")}
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "SLURM_") {
			all = append(all, e)
		}
	}
	return all
}

// run runs a program until the test ends.
func (c *Cluster) run(uid uint32, name string, args ...string) {
	c.t.Helper()
	log, err := os.OpenFile(filepath.Join(c.Dir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644) //nolint:gosec // a test
	if err != nil {
		c.t.Fatal(err)
	}
	cmd := exec.Command(name, args...) //nolint:gosec // three programs
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = c.env(), c.Dir, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = cmd.Wait() }()
	c.running[name] = func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		kill := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
		<-ended
		kill.Stop()
	}
	end := c.running[name]
	c.t.Cleanup(func() {
		end()
		_ = log.Close()
		if c.t.Failed() {
			said, _ := os.ReadFile(log.Name())
			c.t.Logf("%s:\n%s", name, said[max(0, len(said)-4000):])
		}
	})
}

// Until waits long for what becomes true.
func (c *Cluster) Until(what string, is func() bool) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), long)
	defer cancel()
	for !is() {
		select {
		case <-ctx.Done():
			c.t.Fatalf("%s has not come", what)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
