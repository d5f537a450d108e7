package traffic

import (
	"fmt"

	"github.com/songhua-io/hub/internal/road"
)

// lightTexts are the lights, by number.
var lightTexts = [...]Text{{"不可用", "unavailable"}, {"灭灯", "dark"}, {"红闪", "flashing red"}, {"红灯", "red"}, {"绿闪", "flashing green"},
	{"绿灯（让行）", "permissive green"}, {"绿灯", "protected green"}, {"黄灯", "yellow"}, {"黄闪", "flashing yellow"}}

// LightText is what people call a light.
func LightText(l road.Light) Text {
	if int(l) < len(lightTexts) {
		return lightTexts[l]
	}
	return lightTexts[road.LightUnavailable]
}

// eventTexts are the types of events that units tell most, and the classes that
// all others belong to, by hundreds (GB/T 29100).
var (
	eventTexts = map[int]Text{
		401: {"路面抛洒物", "debris on the road"},
		501: {"道路施工", "road works"},
		707: {"交通拥堵", "congestion"},
		901: {"车辆超速", "speeding vehicle"},
		902: {"车辆慢行", "slow vehicle"},
		903: {"车辆违停", "stopped vehicle"},
		904: {"车辆逆行", "wrong-way vehicle"},
	}
	eventClasses = map[int]Text{
		1: {"交通事故", "accident"},
		2: {"交通灾害", "disaster"},
		3: {"恶劣天气", "bad weather"},
		4: {"路面状况", "condition of the road"},
		5: {"道路施工", "road works"},
		6: {"活动", "public event"},
		7: {"重大事件", "major incident"},
		9: {"其他事件", "other"},
	}
)

// EventText is what people call a type of events: its name, or its class and
// number.
func EventText(kind int) Text {
	if t, ok := eventTexts[kind]; ok {
		return t
	}
	t, ok := eventClasses[kind/100]
	if !ok {
		t = Text{"事件", "event"}
	}
	return Text{fmt.Sprintf("%s %d", t.ZH, kind), fmt.Sprintf("%s %d", t.EN, kind)}
}

// modules are those that report faults; the last stands for all others. Their
// order stands in records.
var modules = []string{"ltev", "gps", "other"}

var moduleTexts = map[string]Text{"ltev": {"LTE-V2X 模组", "LTE-V2X radio"}, "gps": {"GNSS 模块", "GNSS"}, "other": {"其他模块", "another module"}}

func moduleOf(name string) (i uint32) {
	for int(i) < len(modules)-1 && modules[i] != name {
		i++
	}
	return i
}

// ModuleText is what people call a module of a unit.
func ModuleText(name string) Text { return moduleTexts[modules[moduleOf(name)]] }

// faultCodes are what modules report; the last stands for all others.
var (
	faultCodes = []int{11, 52, 53, 54, 255}
	faultNames = []string{"init", "tx", "rx", "both", "other"}
	faultTexts = []Text{{"初始化失败", "does not start"}, {"发送故障", "does not send"}, {"接收故障", "does not receive"},
		{"收发均故障", "neither sends nor receives"}, {"其他故障", "another fault"}}
)

func faultOf(code int) (i uint8) {
	for int(i) < len(faultCodes)-1 && faultCodes[i] != code {
		i++
	}
	return i
}

// FaultText is what people call the code of a fault of a module.
func FaultText(code int) Text { return faultTexts[faultOf(code)] }

// deviceStates are those of devices behind a unit; their order stands in records.
var deviceStates = []string{"ok", "power", "offline", "restarting", "network"}

// deviceState is what is wrong with a device, the worst first.
func deviceState(d *road.Device) uint8 {
	switch {
	case d.Runs == 2:
		return 2
	case d.Powered == 2 || d.Powered == 3:
		return 1
	case d.Runs == 3:
		return 3
	case d.Network == 1 || d.Network == 4:
		return 4
	}
	return 0
}

// DeviceState names what is wrong with a device behind a unit: ok, power,
// offline, restarting or network.
func DeviceState(d *road.Device) string { return deviceStates[deviceState(d)] }
