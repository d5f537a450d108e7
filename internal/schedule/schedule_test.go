package schedule

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestEveryCodeSaysSomethingInBothLanguages finds the codes in the source, so
// that none is left out.
func TestEveryCodeSaysSomethingInBothLanguages(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "reason.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	ast.Inspect(file, func(node ast.Node) bool {
		spec, ok := node.(*ast.ValueSpec)
		if !ok || spec.Type == nil {
			return true
		}
		if name, ok := spec.Type.(*ast.Ident); !ok || name.Name != "Code" {
			return true
		}
		n++
		code, _ := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		text := texts[Code(code)]
		if text.ZH == "" || text.EN == "" {
			t.Errorf("%s says nothing in a language", code)
		}
		for i := range 4 {
			arg := "{" + strconv.Itoa(i) + "}"
			if strings.Contains(text.ZH, arg) != strings.Contains(text.EN, arg) {
				t.Errorf("%s: %s stands in one language only", code, arg)
			}
		}
		return true
	})
	if n == 0 || n != len(texts) {
		t.Errorf("%d codes and %d texts", n, len(texts))
	}
}

func TestAReasonIsFilled(t *testing.T) {
	got := Because(NodeTooSmall, "memory_mib", 1024, 4096).Text()
	want := Text{ZH: "最大的节点有 1024 memory_mib，每个成员要 4096", EN: "its largest node has 1024 memory_mib, and a member needs 4096"}
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestFaultsOfWorkloadsNameTheKey(t *testing.T) {
	right := func() Workload {
		return Workload{Tenant: "default", Name: "train-1", Gang: GangAll, Shape: OneFacility, Objective: Balanced,
			Tasks: []Task{{Name: "main", Min: 1, Max: 1, Use: Vector{CPUMilli: 1000}, P50: time.Hour, P95: time.Hour}}}
	}
	if errs := right().Check(""); errs != nil {
		t.Fatal(errs)
	}
	for key, spoil := range map[string]func(*Workload){
		"tenant":                      func(w *Workload) { w.Tenant = "A b" },
		"name":                        func(w *Workload) { w.Name = "" },
		"gang":                        func(w *Workload) { w.Gang = "some" },
		"shape":                       func(w *Workload) { w.Shape = "round" },
		"tasks":                       func(w *Workload) { w.Tasks = nil },
		"tasks[0].count":              func(w *Workload) { w.Tasks[0].Max = 0 },
		"tasks[0].cpu_milli":          func(w *Workload) { w.Tasks[0].Use = Vector{} },
		"tasks[0].memory_mib":         func(w *Workload) { w.Tasks[0].Use[MemoryMiB] = -1 },
		"tasks[0].duration":           func(w *Workload) { w.Tasks[0].P95 = time.Minute },
		"tasks[0].accelerators.milli": func(w *Workload) { w.Tasks[0].Accelerators = &Accelerators{Count: 2, Milli: 500} },
		"tasks[0].accelerators.count": func(w *Workload) { w.Tasks[0].Accelerators = &Accelerators{Count: 65, Milli: 1000} },
		"window.deadline":             func(w *Workload) { w.Window = Window{Earliest: time.Unix(9, 0), Deadline: time.Unix(8, 0)} },
		"latency.from_region":         func(w *Workload) { w.Latency = &Latency{FromRegion: "22", MaxMillis: 1} },
		"data[0].read_gib":            func(w *Workload) { w.Data = []Dataset{{ReadGiB: -1}} },
		"security.min_grade":          func(w *Workload) { w.Security.MinGrade = 5 },
		"priority":                    func(w *Workload) { w.Priority = 1001 },
		"budget":                      func(w *Workload) { w.Budget.Money = -1 },
		"objective":                   func(w *Workload) { w.Objective.CarbonPrice = -1 },
	} {
		w := right()
		spoil(&w)
		errs := w.Check("")
		if len(errs) != 1 || errs[0].Path != key {
			t.Errorf("%s: got %v", key, errs)
		}
	}
}

func TestFaultsOfPoolsNameTheKey(t *testing.T) {
	right := func() Pool {
		return Pool{ID: "p1", Facility: "f1", Engine: EngineAgent, Accelerator: &Accelerator{Model: "A100"}, Nodes: []Node{{ID: "n1", CPUMilli: 1000, Accelerators: 2}}}
	}
	if errs := right().Check(""); errs != nil {
		t.Fatal(errs)
	}
	for key, spoil := range map[string]func(*Pool){
		"id":                    func(p *Pool) { p.ID = "-" },
		"facility":              func(p *Pool) { p.Facility = "" },
		"engine":                func(p *Pool) { p.Engine = "nomad" },
		"nodes":                 func(p *Pool) { p.Classes = []Class{{Count: 1}} },
		"nodes[0].accelerators": func(p *Pool) { p.Accelerator = nil },
		"nodes[1].id":           func(p *Pool) { p.Nodes = append(p.Nodes, p.Nodes[0]) },
		"nodes[0].memory_mib":   func(p *Pool) { p.Nodes[0].MemoryMiB = -1 },
		"power":                 func(p *Pool) { p.Power.IdleW = -1 },
	} {
		p := right()
		spoil(&p)
		errs := p.Check("")
		if len(errs) != 1 || errs[0].Path != key {
			t.Errorf("%s: got %v", key, errs)
		}
	}
}

func TestStatesFollowTheLife(t *testing.T) {
	for _, s := range []State{Succeeded, Failed, Expired, Cancelled} {
		if !s.Ended() || len(steps[s]) > 0 {
			t.Errorf("something comes after %s", s)
		}
	}
	for _, path := range [][]State{
		{Submitted, Queued, Deferred, Reserved, Bound, Running, Succeeded},
		{Submitted, Reserved, Bound, Running, Preempted, Queued},
		{Submitted, Queued, Cancelled},
	} {
		for i := range path[1:] {
			if !path[i].MayBecome(path[i+1]) {
				t.Errorf("%s may not become %s", path[i], path[i+1])
			}
		}
	}
	if Running.MayBecome(Reserved) || Succeeded.MayBecome(Running) {
		t.Error("a state may follow that must not")
	}
}
