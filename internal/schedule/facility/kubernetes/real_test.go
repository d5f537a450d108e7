package kubernetes

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

var required = flag.Bool("kubernetes.required", false, "fail where the programs of Kubernetes are missing, instead of skipping: make test-kubernetes builds them")

// real is a real API server with its etcd and the real controllers of jobs and of
// garbage, on loopback. Its one node is played by the test (see node): a kubelet
// needs a container runtime and root.
type real struct {
	dir, url, etcd string
	running        []chan struct{} // each closes when a program has ended
}

var versionLine = regexp.MustCompile(`(?m)^\tk8s\.io/kubernetes (v\S+)`)

// programs are where scripts/install-kubernetes puts them. They take too long to
// build for every run of the tests: this is the one that skips with CI=true.
func programs(t *testing.T) string {
	t.Helper()
	mod, err := os.ReadFile("../../../../tools/kubernetes/go.mod")
	if err != nil {
		t.Fatal(err)
	}
	version := versionLine.FindSubmatch(mod)
	if version == nil {
		t.Fatal("tools/kubernetes/go.mod requires no k8s.io/kubernetes")
	}
	missing := ""
	cache, err := os.UserCacheDir()
	dir := filepath.Join(cache, "songhua", "kubernetes-"+string(version[1]))
	for _, p := range []string{"kube-apiserver", "kube-controller-manager"} {
		if _, err2 := os.Stat(filepath.Join(dir, p)); err != nil || err2 != nil {
			missing += " " + filepath.Join(dir, p)
		}
	}
	if _, err := exec.LookPath("etcd"); err != nil {
		missing += " etcd"
	}
	switch {
	case missing == "":
		return dir
	case *required:
		t.Fatalf("missing:%s; run scripts/install-kubernetes and scripts/install-test-tools", missing)
	}
	t.Skipf("NOT TESTED against a real Kubernetes; missing:%s. `make test-kubernetes` builds it once, in about half an hour, and then every `make test` runs this", missing)
	return ""
}

// port is one that is free now: these programs cannot tell which they chose.
func port(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // a test
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

// admin and hub are the tokens of who may everything, and of the service account
// of deploy/kubernetes/engine.yaml.
const admin, hub = "token-of-admin", "token-of-hub"

// tries are how often servers are started: between choosing a port and using it
// somebody else may.
const tries = 4

func newReal(t *testing.T) *real {
	t.Helper()
	bin := programs(t)
	for range tries {
		r := startReal(t, bin)
		if r.serves(t) {
			r.finish(t, bin)
			return r
		}
	}
	t.Fatalf("the servers have ended %d times before they served", tries)
	return nil
}

func startReal(t *testing.T, bin string) *real {
	t.Helper()
	r := &real{dir: t.TempDir(), url: "https://127.0.0.1:" + port(t), etcd: "http://127.0.0.1:" + port(t)}
	r.write(t, "tokens", admin+",admin,1,system:masters\n"+hub+",system:serviceaccount:songhua:songhua-hub,2,\n")
	r.write(t, admin, admin)
	r.write(t, hub, hub)
	r.write(t, "key", key(t))
	r.run(t, "etcd", "--data-dir", r.dir+"/etcd", "--listen-client-urls", r.etcd, "--advertise-client-urls", r.etcd, "--listen-peer-urls", "http://127.0.0.1:0", "--log-level", "warn")
	r.run(t, bin+"/kube-apiserver", "--bind-address=127.0.0.1", "--secure-port="+r.url[strings.LastIndex(r.url, ":")+1:], "--cert-dir="+r.dir, "--etcd-servers="+r.etcd,
		"--endpoint-reconciler-type=none", "--authorization-mode=RBAC", "--token-auth-file="+r.dir+"/tokens", "--anonymous-auth=false",
		// Nobody makes the service accounts of namespaces here.
		"--disable-admission-plugins=ServiceAccount",
		"--service-account-issuer=https://test", "--service-account-key-file="+r.dir+"/key", "--service-account-signing-key-file="+r.dir+"/key")
	return r
}

// serves waits for the API server; false when one of the programs has ended.
func (r *real) serves(t *testing.T) (ok bool) {
	t.Helper()
	r.until(t, "the API server", func() bool {
		for _, p := range r.running {
			select {
			case <-p:
				return true
			default:
			}
		}
		if _, err := os.Stat(r.dir + "/apiserver.key"); err != nil {
			return false // which is written after the certificate
		}
		_, err := r.client(t, admin).podsOf(t.Context(), "")
		ok = err == nil
		return ok
	})
	return ok
}

// finish starts what needs an API server, and makes the namespace.
func (r *real) finish(t *testing.T, bin string) {
	t.Helper()
	r.write(t, "config", fmt.Sprintf(`{"apiVersion":"v1","kind":"Config","current-context":"c","contexts":[{"name":"c","context":{"cluster":"c","user":"u"}}],
"clusters":[{"name":"c","cluster":{"server":%q,"certificate-authority":%q}}],"users":[{"name":"u","user":{"token":%q}}]}`, r.url, r.dir+"/apiserver.crt", admin))
	// The controllers give up a server that is not healthy within ten seconds.
	r.until(t, "a healthy API server", func() bool {
		return r.client(t, admin).pods.GetClient().Get().AbsPath("/healthz").Do(t.Context()).Error() == nil
	})
	r.run(t, bin+"/kube-controller-manager", "--kubeconfig="+r.dir+"/config", "--controllers=job-controller,garbage-collector-controller", "--leader-elect=false", "--secure-port=0")
	r.apply(t, "../../../../deploy/kubernetes/engine.yaml")
	// The API server learns of its own roles by watching them.
	r.until(t, "the rights of the hub", func() bool {
		_, err := r.client(t, hub).jobsOf(t.Context(), "")
		return err == nil
	})
}

func key(t *testing.T) string {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := x509.MarshalECPrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: doc}))
}

func (r *real) write(t *testing.T, name, what string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(r.dir, name), []byte(what), 0o600); err != nil {
		t.Fatal(err)
	}
}

// config is what a hub would be told of the cluster, with one of the tokens.
func (r *real) config(token string) Config {
	return Config{Facility: "here", URL: r.url, TokenFile: filepath.Join(r.dir, token), CAFile: r.dir + "/apiserver.crt", Namespace: "songhua"}
}

func (r *real) client(t *testing.T, token string) *api {
	t.Helper()
	a, err := newAPI(r.config(token))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// run runs a program until the test ends.
func (r *real) run(t *testing.T, path string, args ...string) {
	t.Helper()
	name := filepath.Base(path)
	log, err := os.Create(filepath.Join(r.dir, name+".log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = r.dir, log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	r.running = append(r.running, ended)
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		kill := time.AfterFunc(5*time.Second, func() { _ = cmd.Process.Kill() })
		<-ended
		kill.Stop()
		_ = log.Close()
		if t.Failed() {
			said, _ := os.ReadFile(log.Name())
			t.Logf("%s:\n%s", name, said[max(0, len(said)-4000):])
		}
	})
}

func (r *real) until(t *testing.T, what string, is func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	for !is() {
		select {
		case <-ctx.Done():
			t.Fatalf("%s has not come", what)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// lists are where objects of a kind are made.
var lists = map[string]string{
	"Namespace":      "/api/v1/namespaces",
	"ServiceAccount": "/api/v1/namespaces/songhua/serviceaccounts",
	"Secret":         "/api/v1/namespaces/songhua/secrets",
	"Role":           "/apis/rbac.authorization.k8s.io/v1/namespaces/songhua/roles",
	"RoleBinding":    "/apis/rbac.authorization.k8s.io/v1/namespaces/songhua/rolebindings",
}

// apply makes the objects of a file, as kubectl would.
func (r *real) apply(t *testing.T, file string) {
	t.Helper()
	doc, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	a := r.client(t, admin)
	for d := yaml.NewDecoder(bytes.NewReader(doc)); ; {
		var o object
		if err := d.Decode(&o); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
		body, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		list, ok := lists[text(o, "kind")]
		if !ok {
			t.Fatalf("%s: what is a %s?", file, o["kind"])
		}
		if err := a.pods.GetClient().Post().AbsPath(list).SetHeader("Content-Type", "application/json").Body(body).Do(t.Context()).Error(); err != nil {
			t.Fatalf("%s: %v: %v", file, o["kind"], err)
		}
	}
}

// TestRealKubernetes holds the engine against the contract with a real API
// server, and the rights of deploy/kubernetes/engine.yaml.
func TestRealKubernetes(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts Kubernetes")
	}
	r := newReal(t)
	newNode(t, r.client(t, admin))
	conform(t, r.config(hub))
	t.Run("what will never work is refused", func(t *testing.T) { refuses(t, r.config(hub)) })
	t.Run("a late promise runs nothing", func(t *testing.T) {
		latePromise(t, r.config(hub), 901, false)
		latePromise(t, r.config(hub), 911, true)
	})
	t.Run("an image that cannot be had fails the work", func(t *testing.T) { unavailable(t, r.config(hub)) })
	t.Run("members know which they are", func(t *testing.T) { environments(t, r.config(hub)) })
}
