package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"

	"github.com/spf13/cobra"

	"github.com/songhua-io/hub/internal/client"
	"github.com/songhua-io/hub/internal/model"
)

const modelsPath = "/api/v1/models"

func modelPath(id string) string { return modelsPath + "/" + url.PathEscape(id) }

func modelCommand() *cobra.Command {
	r := &remote{}
	return r.register(group(&cobra.Command{
		Use:     "model",
		Short:   "Say what kinds of devices measure and can be asked for",
		Example: "  hub model add soil-probe.yaml\n  hub device add probe-1 --model songhua/soil-probe@1",
	}, modelAdd(r), modelList(r), modelShow(r), modelRemove(r)))
}

func modelAdd(r *remote) *cobra.Command {
	return &cobra.Command{
		Use:     "add FILE",
		Short:   "Create or replace a model from a file in YAML or JSON",
		Long:    "add reads a model (docs/formats/models.md), names everything that is wrong with it, and gives it to the hub.\n读取型号文件，逐条列出错误；无误则交给枢纽。",
		Example: "  hub model add soil-probe.yaml",
		Args:    exactArgs("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			m, err := readModel(args[0])
			if err != nil {
				return err
			}
			return r.print(cmd, http.MethodPut, modelPath(m.ID), m.Document, []string{"id", "version", "devices"})
		},
	}
}

// readModel reads a model before the hub is asked: here its lines are known.
func readModel(path string) (*model.Model, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	m, err := model.Parse(text)
	var invalid *model.Invalid
	if errors.As(err, &invalid) {
		invalid.File = path
		return nil, fmt.Errorf("%s has %d errors\n%w", path, len(invalid.Faults), invalid)
	}
	return m, err
}

func modelList(r *remote) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List models",
		Example: "  hub model list",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			hub, err := r.client()
			if err != nil {
				return err
			}
			all, err := client.Pages[map[string]any](cmd.Context(), hub, modelsPath, nil, 0)
			if err != nil {
				return err
			}
			return r.list(cmd, all, "there is no model; add one with `hub model add FILE`",
				[]string{"id", "zh", "en", "kind", "grade", "metrics", "devices", "file", "version", "updated"}, flatModel)
		},
	}
}

// flatModel prepares a model for a row of a table.
func flatModel(m map[string]any) {
	if names, ok := m["names"].(map[string]any); ok {
		m["zh"], m["en"] = names["zh"], names["en"]
	}
	metrics, _ := m["metrics"].([]any)
	m["metrics"] = len(metrics)
}

func modelShow(r *remote) *cobra.Command {
	return &cobra.Command{
		Use:     "show ID",
		Short:   "Show a model as a document that `hub model add` takes again",
		Example: "  hub model show songhua/soil-probe@1 > soil-probe.json",
		Args:    exactArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			hub, err := r.client()
			if err != nil {
				return err
			}
			var d model.Document
			var into any = &d
			var all map[string]any
			if r.json {
				into = &all
			}
			if err := hub.Call(cmd.Context(), http.MethodGet, modelPath(args[0]), nil, nil, into); err != nil {
				return err
			}
			return printJSON(cmd.OutOrStdout(), into)
		},
	}
}

func modelRemove(r *remote) *cobra.Command {
	return &cobra.Command{
		Use:     "remove ID",
		Short:   "Forget a model that no device names",
		Example: "  hub model remove songhua/soil-probe@1",
		Args:    exactArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return r.gone(cmd, modelPath(args[0]), "model "+args[0]+" is removed")
		},
	}
}
