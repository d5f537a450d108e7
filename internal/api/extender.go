package api

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/http"
	"strconv"
	"strings"

	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/plan"
)

// What kube-scheduler asks and is answered
// (k8s.io/kube-scheduler/extender/v1), as far as it is used here. Nodes are
// those of pools whose engine is kubernetes, by name; one that the hub does not
// know is none of its business, and passes.
type (
	extenderArgs struct {
		Pod       extenderPod
		Nodes     *extenderNodes
		NodeNames *[]string
	}
	extenderPod struct {
		Spec struct {
			Containers     []extenderContainer `json:"containers"`
			InitContainers []extenderContainer `json:"initContainers"`
			Overhead       map[string]string   `json:"overhead"`
		} `json:"spec"`
	}
	extenderContainer struct {
		Resources struct {
			Requests map[string]string `json:"requests"`
			Limits   map[string]string `json:"limits"`
		} `json:"resources"`
	}
	extenderNodes struct {
		Items []json.RawMessage `json:"items"`
	}
	extenderFilterResult struct {
		Nodes       *extenderNodes `json:",omitempty"`
		NodeNames   *[]string      `json:",omitempty"`
		FailedNodes map[string]string
		Error       string
	}
	hostPriority struct {
		Host  string
		Score int64
	}
)

const (
	maxExtenderBody     = 32 << 20
	maxExtenderPriority = 10 // of the extender's v1 API
)

// podNeeds is what a pod asks for: devices by vendor besides the usual.
type podNeeds struct {
	use     schedule.Vector
	devices map[string]int64
}

func (a *API) extenderFilter(w http.ResponseWriter, r *http.Request) {
	q, needs, err := extenderQuestion(w, r)
	if err != nil {
		answerJSON(w, extenderFilterResult{FailedNodes: map[string]string{}, Error: err.Error()})
		return
	}
	known := a.kubeNodes(r.Context())
	out := extenderFilterResult{FailedNodes: map[string]string{}}
	passes := func(name string) bool {
		n, ok := known[name]
		if !ok {
			return true
		}
		why := needs.lacks(n)
		if why != "" {
			out.FailedNodes[name] = why
		}
		return why == ""
	}
	if q.NodeNames != nil {
		names := []string{}
		for _, name := range *q.NodeNames {
			if passes(name) {
				names = append(names, name)
			}
		}
		out.NodeNames = &names
	}
	if q.Nodes != nil {
		out.Nodes = &extenderNodes{Items: []json.RawMessage{}}
		for _, node := range q.Nodes.Items {
			if passes(nodeName(node)) {
				out.Nodes.Items = append(out.Nodes.Items, node)
			}
		}
	}
	answerJSON(w, out)
}

func (a *API) extenderPrioritize(w http.ResponseWriter, r *http.Request) {
	q, needs, err := extenderQuestion(w, r)
	if err != nil {
		newProblem(http.StatusBadRequest, err.Error()).write(w)
		return
	}
	names := []string{}
	if q.NodeNames != nil {
		names = *q.NodeNames
	} else if q.Nodes != nil {
		for _, node := range q.Nodes.Items {
			names = append(names, nodeName(node))
		}
	}
	known := a.kubeNodes(r.Context())
	scores := make([]hostPriority, len(names))
	for i, name := range names {
		scores[i].Host = name
		if n, ok := known[name]; ok && needs.lacks(n) == "" {
			scores[i].Score = needs.fit(n)
		}
	}
	answerJSON(w, scores)
}

// kubeNodes are those that the caller may see.
func (a *API) kubeNodes(ctx context.Context) map[string]plan.NodeFree {
	all := a.Scheduler.NodesOf(schedule.EngineKubernetes)
	maps.DeleteFunc(all, func(_ string, n plan.NodeFree) bool {
		return !strings.HasPrefix(a.Scheduler.Region(n.Facility), region(ctx))
	})
	return all
}

func answerJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // an error means that the caller is gone
}

func nodeName(node json.RawMessage) string {
	var n struct {
		Metadata struct {
			Name string `json:"name"`
		} `json:"metadata"`
	}
	_ = json.Unmarshal(node, &n) // one without a name is not known
	return n.Metadata.Name
}

func extenderQuestion(w http.ResponseWriter, r *http.Request) (q extenderArgs, needs podNeeds, err error) {
	if err = json.NewDecoder(http.MaxBytesReader(w, r.Body, maxExtenderBody)).Decode(&q); err != nil {
		return q, needs, fmt.Errorf("the body is no ExtenderArgs: %w", err)
	}
	needs, err = q.Pod.needs()
	return q, needs, err
}

// needs are the requests of all containers together, or of one init container
// where that is more, and the overhead. A limit without a request is one.
func (p extenderPod) needs() (sum podNeeds, err error) {
	sum.devices = map[string]int64{}
	for _, c := range p.Spec.Containers {
		one, err := c.needs()
		if err != nil {
			return sum, err
		}
		sum.use = sum.use.Add(one.use)
		for vendor, n := range one.devices {
			sum.devices[vendor] += n
		}
	}
	for _, c := range p.Spec.InitContainers {
		one, err := c.needs()
		if err != nil {
			return sum, err
		}
		for d := range sum.use {
			sum.use[d] = max(sum.use[d], one.use[d])
		}
		for vendor, n := range one.devices {
			sum.devices[vendor] = max(sum.devices[vendor], n)
		}
	}
	over, err := resourcesOf(p.Spec.Overhead)
	sum.use = sum.use.Add(over.use)
	return sum, err
}

func (c extenderContainer) needs() (podNeeds, error) {
	all := map[string]string{}
	for name, q := range c.Resources.Limits {
		all[name] = q
	}
	for name, q := range c.Resources.Requests {
		all[name] = q
	}
	return resourcesOf(all)
}

func resourcesOf(all map[string]string) (n podNeeds, err error) {
	n.devices = map[string]int64{}
	for name, text := range all {
		q, err := quantity(text)
		if err != nil {
			return n, fmt.Errorf("resource %s: %w", name, err)
		}
		vendor, _, extended := strings.Cut(name, ".com/")
		switch {
		case name == "cpu":
			n.use[schedule.CPUMilli] = int64(math.Ceil(q * 1000))
		case name == "memory":
			n.use[schedule.MemoryMiB] = int64(math.Ceil(q / (1 << 20)))
		case name == "ephemeral-storage":
			n.use[schedule.DiskGiB] = int64(math.Ceil(q / (1 << 30)))
		case extended && q > 0:
			n.devices[vendor] += int64(q)
		}
	}
	return n, nil
}

// quantity reads a number as Kubernetes writes it: 500m, 1.5, 16Gi, 1e3, 512M.
func quantity(s string) (float64, error) {
	digits := strings.TrimRight(s, "numkKMGTPEi")
	scale, ok := map[string]float64{
		"": 1, "n": 1e-9, "u": 1e-6, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18,
		"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40, "Pi": 1 << 50, "Ei": 1 << 60,
	}[s[len(digits):]]
	n, err := strconv.ParseFloat(digits, 64)
	if err != nil || !ok || n < 0 || n*scale > 1e18 || math.IsNaN(n) {
		return 0, fmt.Errorf("%q is no quantity; write 500m, 2 or 16Gi", s)
	}
	return n * scale, nil
}

// lacks says why a node cannot take the pod; empty when it can.
func (p podNeeds) lacks(n plan.NodeFree) string {
	if !n.Ready {
		return "facility " + n.Facility + " takes no new work"
	}
	for d, want := range p.use {
		if want > n.Free[d] {
			return fmt.Sprintf("%s: %d wanted, %d free besides what is leased", schedule.DimensionNames[d], want, n.Free[d])
		}
	}
	for vendor, want := range p.devices {
		has := 0
		if n.Accelerator != nil && strings.EqualFold(n.Accelerator.Vendor, vendor) {
			has = n.WholeDevices
		}
		if want > int64(has) {
			return fmt.Sprintf("%s devices: %d wanted, %d free as a whole", vendor, want, has)
		}
	}
	return ""
}

// fit is 0 to 10: the less is left of what is most abundant, the better, so
// that whole nodes stay free for what is large.
func (p podNeeds) fit(n plan.NodeFree) int64 {
	use := p.use
	for _, devices := range p.devices {
		use[schedule.AcceleratorMilli] += devices * schedule.DeviceMilli
	}
	left := 0.0
	for d, total := range n.Capacity {
		if use[d] > 0 && total > 0 {
			left = max(left, float64(n.Free[d]-use[d])/float64(total))
		}
	}
	return int64(math.Round(maxExtenderPriority * (1 - left)))
}
