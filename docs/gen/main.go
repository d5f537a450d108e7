// Command gen writes the documents and sample configs that are made from code:
//
//	go run ./docs/gen
package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"

	"github.com/songhua-io/hub/internal/config"
	"github.com/songhua-io/hub/internal/edge"
	"github.com/songhua-io/hub/internal/telemetry"
)

//go:generate go run . -root ../..

func main() {
	root := "."
	if len(os.Args) == 3 && os.Args[1] == "-root" {
		root = os.Args[2]
	}
	alerts, err := alertsReference()
	if err != nil {
		fail(err)
	}
	for name, text := range map[string][]byte{
		"docs/alerts.md":                alerts,
		"docs/config.md":                configReference(),
		"docs/rejects.md":               rejects(),
		"deploy/config/hub.yaml":        config.Annotated(),
		"deploy/config/edge-agent.yaml": edge.AnnotatedConfig(),
		"deploy/models/edge-agent.json": edge.Model(),
	} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			fail(err)
		}
		if err := os.WriteFile(path, text, 0o644); err != nil {
			fail(err)
		}
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "gen:", err)
	os.Exit(1)
}

func configReference() []byte {
	var b bytes.Buffer
	b.WriteString(`# Configuration · 配置

Generated from the config structs by ` + "`go generate ./...`" + `. No file is needed: these are the defaults. A file holds only what differs;
` + "`hub check FILE`" + ` and ` + "`edge-agent check FILE`" + ` list every error with its key path. An unknown key is an error.

由配置结构生成。无需任何文件即可运行，以下皆为默认值；文件中只写不同之处。` + "`hub check FILE`" + ` 会逐条列出错误及其键路径，未知的键即为错误。

## The hub · 枢纽

` + "```yaml\n")
	b.Write(config.Annotated())
	b.WriteString("```\n\n## The edge agent · 边缘代理\n\n```yaml\n")
	b.Write(edge.AnnotatedConfig())
	b.WriteString("```\n")
	return b.Bytes()
}

func rejects() []byte {
	var b bytes.Buffer
	b.WriteString(`# Rejects · 拒收原因

Generated from ` + "`internal/telemetry/reject.go`" + `. A sample is stored, or it is a reject with a stage and one of these reasons: counted in
` + "`hub_ingest_rejects_total{stage, reason}`" + `, told to the device where its protocol allows, and kept at the desk (` + "`hub rejects`" + `).

样本要么入库，要么带着环节和下列原因之一被拒收：计入指标，在协议允许时告知设备，并保存在拒收台（` + "`hub rejects`" + `）供查看和重放。

| stage · 环节 | reason · 原因 | meaning | 含义 |
|---|---|---|---|
`)
	for _, r := range telemetry.Reasons() {
		fmt.Fprintf(&b, "| %s | `%s` | %s | %s |\n", r.Stage, r.Reason, r.EN, r.ZH)
	}
	return b.Bytes()
}
