package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/songhua-io/hub/internal/config/strict"
)

// document reads a file of YAML or JSON as JSON; what its keys mean is the
// hub's to say.
func document(path string) (json.RawMessage, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var d json.RawMessage
	if errs := strict.Decode(text, &d); errs != nil {
		return nil, faultsOf(path, errs)
	}
	if len(d) == 0 {
		return nil, fmt.Errorf("%s is empty", path)
	}
	return d, nil
}

func faultsOf(path string, errs []strict.Error) error {
	all := []error{fmt.Errorf("%s has %d errors", path, len(errs))}
	for _, e := range errs {
		all = append(all, fmt.Errorf("%s:%d: %s: %s", path, e.Line, e.Path, e.Msg))
	}
	return errors.Join(all...)
}

// named takes the id out of a document that is put to a path of its own.
func named(path string) (id string, body map[string]json.RawMessage, err error) {
	d, err := document(path)
	if err != nil {
		return "", nil, err
	}
	if err := json.Unmarshal(d, &body); err != nil {
		return "", nil, fmt.Errorf("%s: holds no object; write keys with values", path)
	}
	if err := json.Unmarshal(body["id"], &id); err != nil || id == "" {
		return "", nil, fmt.Errorf("%s: id is missing; write `id: NAME`", path)
	}
	delete(body, "id")
	return id, body, nil
}

// kept is a kind of thing that is put by a file and read back: its path, and
// what a person sees of it.
type kept struct {
	noun, path, article string
	fields, columns     []string
	flat                func(map[string]any)
}

func (k kept) of(id string) string { return k.path + "/" + url.PathEscape(id) }

func (k kept) add(r *remote, file string) *cobra.Command {
	return &cobra.Command{
		Use:     "add FILE",
		Short:   "Create or replace " + k.article + " " + k.noun + " from a file in YAML or JSON",
		Example: "  hub " + k.noun + " add " + file,
		Args:    exactArgs("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, body, err := named(args[0])
			if err != nil {
				return err
			}
			return r.print(cmd, http.MethodPut, k.of(id), body, k.fields)
		},
	}
}

func (k kept) list(r *remote) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List all",
		Example: "  hub " + k.noun + " list",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return r.all(cmd, k.path, fmt.Sprintf("there is no %s; add one with `hub %s add FILE`", k.noun, k.noun), k.columns, k.flat)
		},
	}
}

func (k kept) show(r *remote, example string) *cobra.Command {
	return &cobra.Command{
		Use:     "show ID",
		Short:   "Show it as the hub has it",
		Example: "  hub " + k.noun + " show " + example,
		Args:    exactArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return r.show(cmd, k.of(args[0]))
		},
	}
}

func (k kept) remove(r *remote, example string) *cobra.Command {
	return &cobra.Command{
		Use:     "remove ID",
		Short:   "Forget it; refused while something is leased there",
		Example: "  hub " + k.noun + " remove " + example,
		Args:    exactArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return r.gone(cmd, k.of(args[0]), k.noun+" "+args[0]+" is removed")
		},
	}
}

// bothNames writes the names of an object into columns.
func bothNames(object map[string]any) {
	if names, ok := object["names"].(map[string]any); ok {
		object["zh"], object["en"] = names["zh"], names["en"]
	}
}

func joined(all []string) string { return strings.Join(all, " ") }
