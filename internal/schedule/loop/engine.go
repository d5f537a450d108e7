package loop

import (
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/songhua-io/hub/internal/config/strict"
	"github.com/songhua-io/hub/internal/schedule"
)

// Engine says how the engine of a facility is reached.
type Engine struct {
	// Facility is the id of the facility.
	Facility string `yaml:"facility"`
	// Kind is slurm or kubernetes.
	Kind string `yaml:"kind"`
	// URL is that of slurmrestd: http://host:port, https://host:port, or
	// unix:///path of its socket; or of an API server of Kubernetes:
	// https://host:port, or http://127.0.0.1:port of a proxy.
	URL string `yaml:"url"`
	// User is who work runs as at Slurm; empty: who runs slurmrestd, by a socket
	// only.
	User string `yaml:"user"`
	// TokenFile holds the token (JWT) of the user, or of the service account; it
	// is read again, so that it may be renewed. Empty for none, by a socket or to
	// loopback only.
	TokenFile string `yaml:"token_file"`
	// CAFile holds the certificates (PEM) of who signed that of the API server of
	// Kubernetes; empty: those of the system.
	CAFile string `yaml:"ca_file"`
	// Namespace is where work runs at Kubernetes, and nothing else should.
	Namespace string `yaml:"namespace"`
	// AcceleratorResource is what a whole device is called at Kubernetes; empty:
	// nvidia.com/gpu.
	AcceleratorResource string `yaml:"accelerator_resource"`
	// Directory is where work runs at Slurm, and where its output goes:
	// LEASE-N.out of member N of a lease, counted from 0.
	Directory string `yaml:"directory"`
	// Poll is how often Slurm is asked what became of work; 0s: every 5s.
	Poll time.Duration `yaml:"poll"`
}

// Check implements strict.Checker.
func (e Engine) Check(path string) []strict.Error {
	errs := schedule.CheckID(path, "facility", e.Facility)
	switch schedule.Engine(e.Kind) {
	case schedule.EngineSlurm:
		return append(errs, e.slurm(path)...)
	case schedule.EngineKubernetes:
		return append(errs, e.kubernetes(path)...)
	}
	return append(errs, strict.Fault(path, "kind", "%q is not slurm or kubernetes", e.Kind))
}

// others faults keys of another kind that are there.
func (e Engine) others(path string, keys map[string]string) (errs []strict.Error) {
	for key, value := range keys {
		if value != "" {
			errs = append(errs, strict.Fault(path, key, "%q is not of kind %s: take it away", value, e.Kind))
		}
	}
	return errs
}

func (e Engine) slurm(path string) []strict.Error {
	errs := e.others(path, map[string]string{"ca_file": e.CAFile, "namespace": e.Namespace, "accelerator_resource": e.AcceleratorResource})
	fault := func(key, format string, args ...any) { errs = append(errs, strict.Fault(path, key, format, args...)) }
	u, err := url.Parse(e.URL)
	switch {
	case err == nil && u.Scheme == "unix" && u.Host == "" && strings.HasPrefix(u.Path, "/"):
	case err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.User == nil:
		if e.User == "" || e.TokenFile == "" {
			fault("token_file", "and user must be there for %q: only a socket knows who asks", e.URL)
		}
	default:
		fault("url", "%q is not http://host:port, https://host:port or unix:///path", e.URL)
	}
	if !strings.HasPrefix(e.Directory, "/") {
		fault("directory", "%q is not an absolute path at the facility, such as /home/hub", e.Directory)
	}
	if e.Poll != 0 {
		errs = append(errs, strict.AtLeast(path, "poll", e.Poll, 100*time.Millisecond)...)
	}
	return errs
}

var (
	// namespacePattern is a label of DNS (RFC 1123).
	namespacePattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	// resourcePattern is the name of an extended resource of Kubernetes.
	resourcePattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$`)
)

func (e Engine) kubernetes(path string) []strict.Error {
	errs := e.others(path, map[string]string{"user": e.User, "directory": e.Directory})
	fault := func(key, format string, args ...any) { errs = append(errs, strict.Fault(path, key, format, args...)) }
	if e.Poll != 0 {
		fault("poll", "%s is not of kind kubernetes, which tells of changes by itself: take it away", e.Poll)
	}
	if strings.HasSuffix(e.Facility, "-") || strings.HasSuffix(e.Facility, ".") || strings.HasSuffix(e.Facility, "_") {
		fault("facility", "%q cannot be a label of Kubernetes: it must end in a letter or a digit", e.Facility)
	}
	u, err := url.Parse(e.URL)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		fault("url", "%q is not https://host:port of an API server", e.URL)
	case u.Scheme == "http" && loopback(u.Host):
	case u.Scheme != "https":
		fault("url", "%q is not https://host:port; http is for a proxy on loopback only", e.URL)
	case e.TokenFile == "":
		fault("token_file", "must be there for %q: it holds the token of the service account", e.URL)
	}
	if !namespacePattern.MatchString(e.Namespace) {
		fault("namespace", "%q is no namespace: 1 to 63 of a-z, 0-9 and hyphen, such as songhua", e.Namespace)
	}
	if e.AcceleratorResource != "" && !resourcePattern.MatchString(e.AcceleratorResource) {
		fault("accelerator_resource", "%q is no resource of a device plugin, such as nvidia.com/gpu", e.AcceleratorResource)
	}
	return errs
}

// loopback reports whether a host and port are of this machine.
func loopback(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return host == "localhost" || err == nil && ip.IsLoopback()
}
