package roads

import (
	"encoding/json"
	"math"
	"strconv"
)

// What a unit tells of itself, as T/ITS 0117-2020 has it.
type (
	fields map[string]any
	list   = []any
)

// about begins a message of the unit about itself.
func (u *unit) about(w *World) fields {
	id, esn := "rsuId", "rsuEsn"
	if u.fault == Misspelled {
		id, esn = "rsuID", "RsuEsn"
	}
	u.seq++
	return fields{"seqNum": u.seq, id: u.device, esn: u.name, "timestamp": u.clock(w).UnixMilli(), "protocolVersion": "V1.0"}
}

// info says who the unit is, what it is configured for, and what is behind it.
func (u *unit) info(w *World, send func(Uplink)) {
	lat, lon := degrees(u.node.x, u.node.y)
	lat, lon = float64(latitude(lat))/1e7, float64(longitude(lon))/1e7
	who := u.about(w)
	delete(who, "timestamp")
	delete(who, "protocolVersion")
	who["rsuName"], who["version"], who["rsuStatus"] = u.device, firmware(u), "normal"
	who["location"] = fields{"lon": lon, "lat": lat}
	who["config"] = fields{
		"mapConfig":  fields{"mapSlice": "1", "eTag": "1"},
		"bsmConfig":  fields{"sampleMode": "ByAll", "sampleRate": 1, "upLimit": 1000},
		"rsiConfig":  fields{"maxRsiNum": 32},
		"spatConfig": fields{"upLimit": 10 / everySPAT},
		"rsmConfig":  fields{"upLimit": 100},
	}
	u.json("INFO", who, send)

	base := u.about(w)
	base["regionId"], base["imei"], base["communicationType"], base["rsuStatus"] = Region*100, "86000000"+u.name[len(u.name)-6:]+"0", "PC5+5G", "normal"
	longitude, latitude, software, kind, status := "Lon", "Lat", "SoftwareVersion", "devicetype", "Status"
	if u.speech == OpenV2X {
		longitude, latitude, software, kind, status = "lon", "lat", "softwareVersion", "deviceType", "status"
	}
	base["location"] = fields{longitude: lon, latitude: lat, "alt": 215}
	base[software], base["hardwareVersion"] = firmware(u), "B1"
	var devices list
	for _, of := range []string{"camera", "radar", "signal"} {
		devices = append(devices, fields{"deviceId": u.name + "-" + of, kind: of, status: list{fields{"powerStatus": 1, "runStatus": 1, "networkStatus": 3}}})
	}
	base["deviceStatus"] = devices
	u.json("BaseINFO", base, send)
}

// firmware is one of three editions, the newest on most units.
func firmware(u *unit) string {
	return []string{"2.1.0", "2.1.0", "2.1.0", "2.0.4", "1.9.2"}[u.node.id%5]
}

// beat sends a heartbeat and what the unit says of its machine.
func (u *unit) beat(w *World, send func(Uplink)) {
	lives := u.about(w)
	lives["rsuStatus"] = "normal"
	u.json("HB", lives, send)

	load := 0.2 + 0.5*u.rng.Float64()
	used, disk := 900+u.rng.IntN(100), 5000+w.ticks/everyBeat%1000
	runs := u.about(w)
	runs["runningInfo"] = fields{
		"cpu":  fields{"load": math.Round(load*100) / 100, "uti": cores(u)},
		"mem":  fields{"total": 2048, "used": used, "free": 2048 - used},
		"disk": fields{"total": 16000, "used": disk, "free": 16000 - disk},
		"net":  fields{"rx": 120, "tx": 90, "rxByte": 30000 + u.rng.IntN(6000), "txByte": 18000 + u.rng.IntN(4000)},
	}
	u.json("RunningInfo", runs, send)
}

// cores is the use of four cores in percent.
func cores(u *unit) string {
	text := ""
	for i := range 4 {
		if i > 0 {
			text += ","
		}
		text += strconv.FormatFloat(5+60*u.rng.Float64(), 'f', 1, 64)
	}
	return text
}

func (u *unit) json(message string, body fields, send func(Uplink)) {
	payload, err := json.Marshal(body)
	if err != nil {
		panic(err)
	}
	u.truth.Sent[message]++
	u.tell(message, false, payload, send)
}
