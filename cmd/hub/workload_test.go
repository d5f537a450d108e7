package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

func TestExplainNamesWhoGaveWay(t *testing.T) {
	var w workload
	if err := json.Unmarshal([]byte(`{"id": "w-2", "state": "running", "decision": {"preempts": [{"workload": "w-1", "priority": 10, "lost": "12m0s", "cost": 1.5}]}}`), &w); err != nil {
		t.Fatal(err)
	}
	for lang, want := range map[string]string{
		"en_US.UTF-8": "gave way to it\n  w-1  priority 10; loses 12m0s of work, which counts 1.50 yuan\n",
		"zh_CN.UTF-8": "为其让路\n  w-1  优先级 10；损失 12m0s 的工作，计 1.50 元\n",
	} {
		t.Setenv("LC_ALL", lang)
		var out bytes.Buffer
		cmd := &cobra.Command{}
		cmd.SetOut(&out)
		if err := (&remote{}).explain(cmd, w); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(out.String(), want) {
			t.Errorf("%s:\n%s", lang, &out)
		}
	}
}
