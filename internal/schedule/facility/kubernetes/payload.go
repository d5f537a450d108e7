package kubernetes

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// Payload is what a workload says to Kubernetes: one container for all of its
// tasks, or one for each by name. It has no key for anything of the node or of
// the cluster: no volume, host network, privilege, account or namespace.
type Payload struct {
	Container
	Tasks map[string]Container `json:"tasks"`
}

// Container is what runs for a member.
type Container struct {
	Image string `json:"image"`
	// Command replaces the entry point of the image, and Args its arguments.
	Command []string `json:"command"`
	Args    []string `json:"args"`
	// Env is added to that of the image, as are SONGHUA_WORKLOAD, SONGHUA_TASK
	// and SONGHUA_INDEX.
	Env map[string]string `json:"env"`
	// Directory is where it runs; empty: where the image says.
	Directory string `json:"working_dir"`
	// User is a user id above 0; absent: the image's.
	User *int64 `json:"user"`
}

// maxPayload bounds a payload: an object of a cluster has 1.5 MB at most.
const maxPayload = 1 << 20

// example is what errors show.
const example = `{"image": "registry.example.org/train:1.4", "command": ["python", "train.py"], "args": […], "env": {…}, "working_dir": "/w", "user": 1000}, or {"tasks": {"main": {"image": …}}}`

// parse reads a payload: its keys are those of Payload and no others.
func parse(doc json.RawMessage) (p Payload, err error) {
	if len(doc) > maxPayload {
		return p, fmt.Errorf("payload for kubernetes: it has %d bytes, more than %d", len(doc), maxPayload)
	}
	d := json.NewDecoder(strings.NewReader(string(doc)))
	d.DisallowUnknownFields()
	if err := d.Decode(&p); err != nil {
		return p, fmt.Errorf("payload for kubernetes: %w; it is %s", err, example)
	}
	if d.More() {
		return p, errors.New("payload for kubernetes: something follows its end")
	}
	return p, nil
}

// of is the container of a task.
func (p Payload) of(task string) (Container, error) {
	c, ok := p.Tasks[task]
	at := "tasks." + task + "."
	if !ok {
		c, at = p.Container, ""
	}
	fault := func(key, format string, args ...any) (Container, error) {
		return c, fmt.Errorf("payload for kubernetes: "+at+key+": "+format, args...)
	}
	switch {
	case c.Image == "" && !ok:
		return fault("image", "is missing, and so is tasks.%s.image; it is %s", task, example)
	case c.Image == "" || strings.ContainsAny(c.Image, " \t\n"):
		return fault("image", "%q is no image, such as registry.example.org/train:1.4", c.Image)
	case c.User != nil && *c.User < 1:
		return fault("user", "%d is not above 0", *c.User)
	case c.Directory != "" && !strings.HasPrefix(c.Directory, "/"):
		return fault("working_dir", "%q is not an absolute path", c.Directory)
	}
	for name := range c.Env {
		if name == "" || strings.ContainsAny(name, "= \t\n") {
			return fault("env", "%q is no name of a variable", name)
		}
	}
	return c, nil
}
