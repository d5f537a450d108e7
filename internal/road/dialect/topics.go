package dialect

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"

	"github.com/songhua-io/hub/internal/road"
)

// plain is the profile of messages that come without a topic.
const plain = "tits"

// TopicOf is the topic of the standard that stands for a kind of message.
func (s *Set) TopicOf(k road.Kind) (topic string, ok bool) {
	for _, p := range s.Profiles {
		for _, t := range p.Topics[k] {
			if p.ID == plain && !strings.Contains(t, "{") {
				return t, true
			}
		}
	}
	return "", false
}

// Filters are MQTT filters of the topics that can be asked for: those with dots
// are one level, of which no part can stand for anything.
func (s *Set) Filters() (all []string) {
	for _, p := range s.Profiles {
		for _, topics := range p.Topics {
			for _, t := range topics {
				if separator(t) == '.' && strings.Contains(t, "{") {
					continue
				}
				levels := strings.Split(t, "/")
				for i, l := range levels {
					if strings.HasPrefix(l, "{") {
						levels[i] = "+"
					}
				}
				all = append(all, strings.Join(levels, "/"))
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// Recognise says what a message of JSON without a topic is about, by the names of
// its fields: the shape that knows most of them, and of several the smallest. One
// that has nothing of its own is a heartbeat.
func (s *Set) Recognise(data []byte) (Route, bool) {
	var from map[string]json.RawMessage
	if json.NewDecoder(bytes.NewReader(data)).Decode(&from) != nil {
		return Route{}, false
	}
	best, most, least := road.Kind(""), 0, 0
	for _, kind := range s.kinds() {
		shape, known := s.shapes[kind], 0
		for name := range from {
			if shape.lower[strings.ToLower(name)] != "" {
				known++
			}
		}
		if known > most || known == most && known > 0 && len(shape.fields) < least {
			best, most, least = kind, known, len(shape.fields)
		}
	}
	topic, ok := s.TopicOf(best)
	if !ok {
		return Route{}, false
	}
	return s.Route(topic)
}

// kinds are those that have a form in JSON, sorted, the heartbeat first.
func (s *Set) kinds() (all []road.Kind) {
	for k := range s.shapes {
		all = append(all, k)
	}
	slices.Sort(all)
	if i := slices.Index(all, road.KindHeartbeat); i > 0 {
		all = slices.Insert(slices.Delete(all, i, i+1), 0, road.KindHeartbeat)
	}
	return all
}
