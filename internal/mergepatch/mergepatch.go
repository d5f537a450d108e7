// Package mergepatch applies merge patches (RFC 7396) to JSON values: the hub
// changes what it wants of a device by them, and the agent lays what is wanted
// over its own configuration.
package mergepatch

// Apply returns target changed by patch, both as encoding/json reads them: the
// keys of an object that patch names are replaced, by null they are removed,
// and anything but an object replaces the whole. It may change target's maps;
// the result may share values with both.
func Apply(target, patch any) any {
	p, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	t, ok := target.(map[string]any)
	if !ok {
		t = map[string]any{}
	}
	for key, v := range p {
		if v == nil {
			delete(t, key)
			continue
		}
		t[key] = Apply(t[key], v)
	}
	return t
}
