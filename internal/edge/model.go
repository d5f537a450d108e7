package edge

import (
	"encoding/json"
	"reflect"
	"strings"
	"time"
)

// ModelID is the id of the model of agents.
const ModelID = "songhua/edge-agent@1"

// schema is a JSON Schema.
type schema map[string]any

// Model is the model of agents as a hub takes it (docs/formats/models.md): with
// it a hub refuses at once what no agent would do. What a value may be beyond
// its type the agent says.
func Model() []byte {
	root := configSchema("", idleDocument())
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	commands := map[string]schema{}
	for name, a := range (&agent{}).actions() {
		commands[name] = a.params
	}
	text, err := json.MarshalIndent(map[string]any{
		"id": ModelID, "names": map[string]string{"zh": "边缘代理", "en": "Edge agent"}, "commands": commands, "config": root,
	}, "", "  ")
	if err != nil {
		panic(err) // maps and texts
	}
	return append(text, '\n')
}

// configSchema describes the keys that the table of rights has.
func configSchema(pattern string, like map[string]any) schema {
	properties := map[string]any{}
	for key, v := range like {
		at := under(pattern, key)
		_, listed := rights[at]
		object, isObject := v.(map[string]any)
		list, isList := v.([]any)
		switch {
		case listed:
			properties[key] = valueSchema(v)
		case isObject && (at == "sources" || ofSources(at)):
			properties[key] = configSchema(at, object)
		case isList && ofSources(at):
			element, _ := list[0].(map[string]any)
			properties[key] = schema{"type": []string{"array", "null"}, "items": configSchema(at+"[]", element)}
		}
	}
	return schema{"type": []string{"object", "null"}, "properties": properties, "additionalProperties": false}
}

// valueSchema takes what has the type of a default, or null: the default.
func valueSchema(v any) schema {
	switch v := v.(type) {
	case bool:
		return schema{"type": []string{"boolean", "null"}}
	case json.Number:
		return schema{"type": []string{"number", "null"}}
	case string:
		s := schema{"type": []string{"string", "null"}}
		if _, err := time.ParseDuration(v); err == nil && v != "0" {
			s["pattern"] = `^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$`
		}
		return s
	case []any:
		return schema{"type": []string{"array", "null"}}
	}
	return schema{"type": []string{"object", "null"}}
}

// paramsSchema describes parameters by their JSON.
func paramsSchema(t reflect.Type) schema {
	properties, required := map[string]any{}, []string{}
	for i := range t.NumField() {
		name, options, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		properties[name] = typeSchema(t.Field(i).Type)
		if options == "" {
			required = append(required, name)
		}
	}
	return schema{"type": "object", "properties": properties, "required": required, "additionalProperties": false}
}

func typeSchema(t reflect.Type) schema {
	switch t.Kind() {
	case reflect.String:
		return schema{"type": "string"}
	case reflect.Struct:
		return paramsSchema(t)
	case reflect.Map:
		return schema{"type": "object", "additionalProperties": typeSchema(t.Elem())}
	case reflect.Slice:
		return schema{"type": "array", "items": typeSchema(t.Elem())}
	case reflect.Float64:
		return schema{"type": "number"}
	case reflect.Bool:
		return schema{"type": "boolean"}
	}
	return schema{"type": "integer"}
}
