package main

import (
	"maps"
	"testing"
)

// A unit is adopted as it described itself, but for what the operator says.
func TestAUnitIsAdoptedAsItDescribedItself(t *testing.T) {
	lat, lon, other := 43.88, 125.32, 44.0
	k := knock{Device: "R328328", Kind: "rsu", Gateway: "edge-1", Name: "人民大街", Lat: &lat, Lon: &lon}
	kind, gateway := "sensor", ""
	var atLat, atLon *float64
	var tags map[string]string
	k.describe(&kind, &gateway, &atLat, &atLon, &tags, func(string) bool { return false })
	if kind != "rsu" || gateway != "edge-1" || *atLat != lat || *atLon != lon || !maps.Equal(tags, map[string]string{"esn": "R328328", "name": "人民大街"}) {
		t.Errorf("%s %s %v %v %v", kind, gateway, atLat, atLon, tags)
	}
	kind, gateway, atLat, atLon, tags = "rsu", "edge-2", &other, &lon, map[string]string{"name": "corner"}
	k.describe(&kind, &gateway, &atLat, &atLon, &tags, func(string) bool { return true })
	if gateway != "edge-2" || *atLat != other || tags["name"] != "corner" || tags["esn"] != "R328328" {
		t.Errorf("%s %v %v", gateway, atLat, tags)
	}
}
