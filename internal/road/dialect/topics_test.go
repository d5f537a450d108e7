package dialect

import (
	"testing"

	"github.com/songhua-io/hub/internal/road"
)

// A message without a topic is known by its fields, also where they are misspelled
// or those of another message are among them.
func TestMessagesAreRecognised(t *testing.T) {
	s, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	for data, want := range map[string]road.Kind{
		`{"rsuId":"1","rsuEsn":"R1","seqNum":"1","timestamp":1,"protocolVersion":"V1","rsuStatus":"0"}`: road.KindHeartbeat,
		`{"RSUID":"1","rsuesn":"R1","timeStamp":1}`:                                                     road.KindHeartbeat,
		`{"rsuId":"1","rsuEsn":"R1","rsuName":"n","location":{},"config":{}}`:                           road.KindInfo,
		`{"rsuId":"1","rsuEsn":"R1","imei":"1","deviceStatus":[],"plate":"x"}`:                          road.KindBase,
		`{"rsuId":"1","rsuEsn":"R1","timestamp":1,"runningInfo":{}}`:                                    road.KindRunning,
		`{"name":"x","timestamp":1,"intersections":[]}`:                                                 road.KindSPAT,
		`{"rsms":[]}`:                                     road.KindRSM,
		`{"rsiSourceId":"1","rsi":{}}`:                    road.KindRSI,
		`{"seqNum":"1","errorCode":0,"errorDesc":"none"}`: road.KindAck,
		`{"a":1}`: "", `[]`: "", `{`: "", `1`: "", ``: "",
	} {
		r, ok := s.Recognise([]byte(data))
		if ok != (want != "") || r.Kind != want || ok && (r.ESN != "" || r.Profile == nil) {
			t.Errorf("%s is %q, %v; want %q", data, r.Kind, ok, want)
		}
	}
}
