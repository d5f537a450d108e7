package deploy

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/songhua-io/hub/internal/edge"
)

func read(t *testing.T, file string, into any) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(into); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

func TestGrafanaFindsTheHub(t *testing.T) {
	var file struct {
		APIVersion  int `yaml:"apiVersion"`
		Datasources []struct {
			Name, UID, Type, Access, URL string
			IsDefault                    bool `yaml:"isDefault"`
			Editable                     bool
			JSONData                     map[string]any    `yaml:"jsonData"`
			SecureJSONData               map[string]string `yaml:"secureJsonData"`
		}
	}
	read(t, "grafana/provisioning/datasources/songhua.yaml", &file)
	d := file.Datasources[0]
	if d.Type != "prometheus" || d.UID == "" || !strings.HasSuffix(d.URL, "/prometheus") || d.JSONData["httpMethod"] != "POST" {
		t.Errorf("%+v", d)
	}
	if d.JSONData["httpHeaderName1"] != "Authorization" || !strings.HasPrefix(d.SecureJSONData["httpHeaderValue1"], "Bearer $") {
		t.Errorf("no token is shown to the hub: %+v", d)
	}
}

// compose is the part of a compose file that we use; anything else is an error.
type compose struct {
	Name     string
	Services map[string]struct {
		Image string
		Build struct {
			Context, Dockerfile string
			Args                map[string]string
		}
		Restart         string
		StopGracePeriod string   `yaml:"stop_grace_period"`
		ReadOnly        bool     `yaml:"read_only"`
		CapDrop         []string `yaml:"cap_drop"`
		SecurityOpt     []string `yaml:"security_opt"`
		Tmpfs           []string
		Ulimits         map[string]int
		Ports, Volumes  []string
		Environment     map[string]string
		DependsOn       map[string]struct{ Condition string } `yaml:"depends_on"`
	}
	Volumes map[string]any
}

// TestComposeFile reads the file by itself: `docker compose config` would need
// docker, which test machines lack. What compose would not take, such as an
// unknown key or a missing path, is an error here too.
func TestComposeFile(t *testing.T) {
	var c compose
	read(t, "compose.yaml", &c)
	for name, s := range c.Services {
		for _, p := range s.Ports {
			if !strings.HasPrefix(p, "127.0.0.1:") {
				t.Errorf("%s: port %s is open to the network", name, p)
			}
		}
		for _, v := range s.Volumes {
			from, _, _ := strings.Cut(v, ":")
			if _, named := c.Volumes[from]; named {
				continue
			}
			if _, err := os.Stat(from); err != nil {
				t.Errorf("%s: volume %s: %v", name, v, err)
			}
		}
	}
	hub := c.Services["hub"]
	if _, err := os.Stat(filepath.Join(hub.Build.Context, hub.Build.Dockerfile)); err != nil {
		t.Error(err)
	}
	var boards struct {
		APIVersion int `yaml:"apiVersion"`
		Providers  []struct {
			Name, Type, Folder string
			FolderUID          string `yaml:"folderUid"`
			AllowUIUpdates     bool   `yaml:"allowUiUpdates"`
			Interval           int    `yaml:"updateIntervalSeconds"`
			Options            struct{ Path string }
		}
	}
	read(t, "grafana/provisioning/dashboards/songhua.yaml", &boards)
	for _, p := range boards.Providers {
		if !strings.Contains(strings.Join(c.Services["grafana"].Volumes, "\n"), ":"+p.Options.Path+":ro") {
			t.Errorf("no volume holds %s", p.Options.Path)
		}
	}
}

// TestImagesAreNamedByVersion: what runs tomorrow is what was tried today.
func TestImagesAreNamedByVersion(t *testing.T) {
	var c compose
	read(t, "compose.yaml", &c)
	for name, s := range c.Services {
		built := s.Build.Dockerfile != ""
		_, tag, _ := strings.Cut(regexp.MustCompile(`\$\{\w+:-(.*)\}`).ReplaceAllString(s.Image, "$1"), ":")
		if !built && !regexp.MustCompile(`^[0-9]+\.[0-9]+\.[0-9]+$`).MatchString(tag) {
			t.Errorf("%s: image %s has no version", name, s.Image)
		}
	}
}

// TestTheHubIsBehindItsPorts: each published port is one that the image opens.
func TestTheHubIsBehindItsPorts(t *testing.T) {
	var c compose
	read(t, "compose.yaml", &c)
	image, err := os.ReadFile("Containerfile")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range c.Services["hub"].Ports {
		_, inside, _ := strings.Cut(strings.TrimPrefix(p, "127.0.0.1:"), ":")
		port, protocol, _ := strings.Cut(inside, "/")
		if protocol == "" {
			protocol = "tcp"
		}
		if !strings.Contains(string(image), `"0.0.0.0:`+port+`"`) || !regexp.MustCompile(`(?m)^EXPOSE .*\b`+port+"/"+protocol+`\b`).Match(image) {
			t.Errorf("port %s is published, but the image does not open it", p)
		}
	}
}

// systemdAnalyze fails where it must be there: with CI=true.
func systemdAnalyze(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		missing(t, "needs systemd-analyze (Debian package systemd; scripts/install-test-tools installs it)")
	}
}

func missing(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

func units(t *testing.T) []string {
	t.Helper()
	systemdAnalyze(t)
	files, err := filepath.Glob("systemd/*.service")
	if err != nil || len(files) != 3 {
		t.Fatalf("%v, %v", files, err)
	}
	return files
}

func TestUnitsAreValid(t *testing.T) {
	for _, file := range units(t) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		// The programs are not installed here; any program will do to check the unit.
		text = regexp.MustCompile(`(?m)^ExecStart=\S+`).ReplaceAll(text, []byte("ExecStart=/bin/true"))
		copied := filepath.Join(t.TempDir(), filepath.Base(file))
		if err := os.WriteFile(copied, text, 0o644); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("systemd-analyze", "verify", "--man=no", copied).CombinedOutput(); err != nil || bytes.Contains(out, []byte(filepath.Base(file))) {
			t.Errorf("%s: %v\n%s", file, err, out)
		}
	}
}

// TestTheAgentsUnitFitsItsSampleConfig: everything else is read-only to the
// unit.
func TestTheAgentsUnitFitsItsSampleConfig(t *testing.T) {
	unit, err := os.ReadFile("systemd/songhua-edge-agent.service")
	if err != nil {
		t.Fatal(err)
	}
	setting := func(key string) string {
		found := regexp.MustCompile(`(?m)^` + key + `=(.*)$`).FindSubmatch(unit)
		if found == nil {
			t.Fatalf("the unit has no %s", key)
		}
		return string(found[1])
	}
	sample, err := os.ReadFile("config/edge-agent.yaml")
	if err != nil {
		t.Fatal(err)
	}
	cfg, faults := edge.ParseConfig(sample)
	for _, f := range faults { // what only the operator can know
		if f.Path != "device" && f.Path != "uplink.secret_file" {
			t.Error(f)
		}
	}
	if want := "/var/lib/" + setting("StateDirectory"); cfg.Data != want {
		t.Errorf("data is %s, and the unit may write to %s only", cfg.Data, want)
	}
	credential, _, _ := strings.Cut(setting("LoadCredential"), ":")
	if path := "${CREDENTIALS_DIRECTORY}/" + credential; !bytes.Contains(sample, []byte(path)) || !bytes.Contains(unit, []byte(path)) {
		t.Errorf("the unit and the sample do not both say secret_file: %s", path)
	}
}

// exposure is systemd's own rating, 0 (safe) to 10, that a unit must not exceed.
var exposure = map[string]float64{"songhua-hub.service": 1.3, "songhua-backup.service": 2.6, "songhua-edge-agent.service": 2.0}

func TestUnitsAreHardened(t *testing.T) {
	rating := regexp.MustCompile(`(?s)Overall exposure level for \S+: ([0-9.]+)`)
	for _, file := range units(t) {
		out, err := exec.Command("systemd-analyze", "security", "--offline=true", "--no-pager", file).CombinedOutput()
		found := rating.FindSubmatch(out)
		if found == nil {
			missing(t, "systemd-analyze (250 or later) does not rate units offline here: %v\n%.300s", err, out)
		}
		level, err := strconv.ParseFloat(string(found[1]), 64)
		if most := exposure[filepath.Base(file)]; err != nil || level > most {
			t.Errorf("%s: exposure %g, at most %g: %v", file, level, most, err)
		}
	}
}

func TestContainerRunsUnprivileged(t *testing.T) {
	text, err := os.ReadFile("Containerfile")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"\nFROM scratch\n", "\nUSER 65532:65532\n", "\nHEALTHCHECK ", "CGO_ENABLED=0", "\nARG VERSION=devel\n", "-X main.release=$VERSION"} {
		if !strings.Contains(string(text), line) {
			t.Errorf("the Containerfile lacks %q", strings.TrimSpace(line))
		}
	}
}

// TestTheImageKnowsItsVersion builds the programs as the Containerfile does.
func TestTheImageKnowsItsVersion(t *testing.T) {
	if testing.Short() {
		t.Skip("builds both programs")
	}
	text, err := os.ReadFile("Containerfile")
	if err != nil {
		t.Fatal(err)
	}
	flags := regexp.MustCompile(`-ldflags "([^"]*)"`).FindSubmatch(text)
	if flags == nil {
		t.Fatal("the Containerfile builds without -ldflags")
	}
	out := t.TempDir() + "/"
	build := exec.Command("go", "build", "-buildvcs=false", "-ldflags", strings.Replace(string(flags[1]), "$VERSION", "v1.2.3", 1), "-o", out, "../cmd/hub", "../cmd/edge-agent")
	if said, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	for _, program := range []string{"hub", "edge-agent"} {
		said, err := exec.Command(out+program, "version").CombinedOutput()
		if err != nil || !strings.HasPrefix(string(said), program+" v1.2.3 ") {
			t.Errorf("%s version: %v, %s", program, err, said)
		}
	}
}
