package work

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/songhua-io/hub/internal/config/strict"
)

// Config is what of this machine's compute a hub may use, and by which
// programs. Only the agent's own file says it.
type Config struct {
	// Enabled lets the hub start work here; without it none is ever started.
	Enabled bool `yaml:"enabled"`
	// Allow names the programs that may be started: whole paths, or directories
	// with a slash at the end of which every program may be. Whoever has the
	// hub runs what stands here, with any arguments: a shell or an interpreter is
	// everything.
	Allow []string `yaml:"allow"`
	// Env names the variables that the hub may set for programs; OMP_* stands
	// for all that begin so. None by default: LD_PRELOAD is code as well.
	Env []string `yaml:"env"`
	// User runs the programs; empty is the agent's own, which may not be root
	// then. Another than the agent's own needs an agent that runs as root.
	User string `yaml:"user"`
	// Directory is where work lies; empty: work in the data directory of the
	// agent. Another user must be able to pass the directories above it.
	Directory string `yaml:"directory"`
	// MaxMembers bounds the processes under way, each with what it starts itself.
	MaxMembers int `yaml:"max_members"`
	// MaxCPU bounds the CPUs of all of them together; 0 means no bound.
	MaxCPU int `yaml:"max_cpu"`
	// MaxMemory bounds the memory of all of them together; 0 means no bound.
	MaxMemory strict.Bytes `yaml:"max_memory"`
	// MaxOutput bounds what is kept of each of the two outputs of a member: the newest.
	MaxOutput strict.Bytes `yaml:"max_output"`
	// Cgroup is a directory of cgroup v2 that was delegated to the agent, with
	// cpu, memory and pids in its cgroup.subtree_control; members are limited
	// in groups beneath it. Empty: by rlimits, by nice, and by looking at what
	// they use.
	Cgroup string `yaml:"cgroup"`
}

// DefaultConfig runs nothing.
func DefaultConfig() Config {
	return Config{MaxMembers: 16, MaxOutput: 16 << 20}
}

// most is how many members there may be at once: their states go to the hub in
// one message.
const most = 64

var envPattern = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*\*?$`)

// Check reports values that cannot be used.
func (c Config) Check(path string) (errs []strict.Error) {
	fault := func(key, format string, args ...any) {
		errs = append(errs, strict.Fault(path, key, format, args...))
	}
	for i, p := range c.Allow {
		if !filepath.IsAbs(p) || filepath.Clean(p) != strings.TrimSuffix(p, "/") {
			fault(fmt.Sprintf("allow[%d]", i), "%q is no whole path; write /opt/jobs/train, or /opt/jobs/ for all in it", p)
		}
	}
	for i, name := range c.Env {
		if !envPattern.MatchString(name) {
			fault(fmt.Sprintf("env[%d]", i), "%q is no name of a variable; write OMP_NUM_THREADS, or OMP_* for all that begin so", name)
		}
	}
	if c.Enabled && len(c.Allow) == 0 {
		fault("allow", "is empty; name the programs that may be started, or turn compute.enabled off")
	}
	if c.MaxMembers < 1 || c.MaxMembers > most {
		fault("max_members", "%d is not from 1 to %d", c.MaxMembers, most)
	}
	if c.MaxOutput < 64<<10 {
		fault("max_output", "%s is less than 64KiB; raise it", c.MaxOutput)
	}
	if c.Directory != "" && !filepath.IsAbs(c.Directory) {
		fault("directory", "%q is no whole path, such as /var/lib/songhua-work", c.Directory)
	}
	if c.Cgroup != "" && !filepath.IsAbs(c.Cgroup) {
		fault("cgroup", "%q is no whole path, such as /sys/fs/cgroup/system.slice/songhua-edge-agent.service", c.Cgroup)
	}
	return slices.Concat(errs, strict.AtLeast(path, "max_cpu", c.MaxCPU, 0), strict.AtLeast(path, "max_memory", c.MaxMemory, 0))
}

// refusal is why a program may not be started; empty when it may.
func (c Config) refusal(command []string, env map[string]string) string {
	if !c.Enabled {
		return "this machine runs no work: compute.enabled is false in the file of its agent"
	}
	if len(command) == 0 || !filepath.IsAbs(command[0]) {
		return fmt.Sprintf("command %.80q does not begin with the whole path of a program, such as /opt/jobs/train; no shell reads it", command)
	}
	// What a link points to counts: else an allowed directory that others may
	// write to would be everything.
	real, err := filepath.EvalSymlinks(command[0])
	if err != nil {
		return fmt.Sprintf("program %.200q cannot be run: %v", command[0], err)
	}
	if !slices.ContainsFunc(c.Allow, func(a string) bool { return allows(a, real) }) {
		return fmt.Sprintf("program %.200q is not among compute.allow in the file of this agent; add it or its directory there", real)
	}
	for name := range env {
		if !slices.ContainsFunc(c.Env, func(a string) bool {
			prefix, wild := strings.CutSuffix(a, "*")
			return a == name || wild && strings.HasPrefix(name, prefix)
		}) {
			return fmt.Sprintf("variable %.80q is not among compute.env in the file of this agent; add it there", name)
		}
	}
	return ""
}

func allows(entry, program string) bool {
	real, err := filepath.EvalSymlinks(entry)
	if err != nil {
		return false
	}
	if strings.HasSuffix(entry, "/") {
		return strings.HasPrefix(program, strings.TrimSuffix(real, "/")+"/")
	}
	return program == real
}

// account finds who runs the programs; nil is the agent's own user.
func (c Config) account(uid int) (*user.User, error) {
	if c.User == "" {
		if uid == 0 {
			return nil, fmt.Errorf("the agent runs as root and compute.user is empty; name the user that programs run as")
		}
		return nil, nil
	}
	u, err := user.Lookup(c.User)
	if err != nil {
		return nil, fmt.Errorf("compute.user: %w", err)
	}
	if u.Uid == fmt.Sprint(uid) {
		return nil, nil
	}
	if uid != 0 {
		return nil, fmt.Errorf("compute.user is %s and the agent is not root; run it as %s, or leave the key out", c.User, c.User)
	}
	return u, nil
}

// passable is an error when others may not pass dir or one above it.
func passable(dir string) error {
	for at := dir; ; at = filepath.Dir(at) {
		st, err := os.Stat(at)
		if err != nil {
			return err
		}
		if st.Mode().Perm()&0o001 == 0 {
			return fmt.Errorf("compute.user cannot pass %s; let others pass it (chmod o+x), or name another compute.directory", at)
		}
		if at == filepath.Dir(at) {
			return nil
		}
	}
}
