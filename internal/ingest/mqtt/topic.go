package mqtt

import (
	"bytes"
	"strings"
)

// validTopic reports whether b can be a topic name: not empty, no wildcards,
// at most maxTopicBytes. [MQTT-3.3.2-2] [MQTT-4.7.3-1]
func validTopic(b []byte) bool {
	return len(b) > 0 && len(b) <= maxTopicBytes && bytes.IndexByte(b, '+') < 0 && bytes.IndexByte(b, '#') < 0
}

// validFilter reports whether s can be a topic filter: wildcards fill whole
// levels, # is the last one. [MQTT-4.7.1-1] [MQTT-4.7.1-2] [MQTT-4.7.3-1]
func validFilter(s string) bool {
	if s == "" || len(s) > maxTopicBytes {
		return false
	}
	levels := strings.Split(s, "/")
	for i, l := range levels {
		switch {
		case l == "+", l == "#" && i == len(levels)-1:
		case strings.ContainsAny(l, "+#"):
			return false
		}
	}
	return true
}

// matches reports whether a topic name is meant by a filter. [MQTT-4.7.1-2]:
// # includes the level above it.
func matches(filter, topic string) bool {
	for {
		f, restF, moreF := strings.Cut(filter, "/")
		t, restT, moreT := strings.Cut(topic, "/")
		switch {
		case f == "#":
			return true
		case f != "+" && f != t:
			return false
		case !moreF && !moreT:
			return true
		case !moreT:
			return restF == "#"
		case !moreF:
			return false
		}
		filter, topic = restF, restT
	}
}

// maySubscribe reports whether a device may hold the filter: what lies beneath
// its own name, and the Sparkplug commands to its own edge node.
func maySubscribe(device, filter string) bool {
	if rest, ok := strings.CutPrefix(filter, "devices/"); ok {
		id, rest, deeper := strings.Cut(rest, "/")
		return id == device && deeper && rest != ""
	}
	rest, ok := strings.CutPrefix(filter, "spBv1.0/")
	if !ok {
		return false
	}
	levels := strings.Split(rest, "/")
	if levels[0] == "STATE" {
		return len(levels) == 2 && levels[1] != "#"
	}
	return len(levels) >= 3 && (levels[1] == "NCMD" || levels[1] == "DCMD") && levels[2] == device
}
