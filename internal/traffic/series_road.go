package traffic

import "github.com/songhua-io/hub/internal/road"

// The series of roads. Those of sensors and of vehicles themselves are apart, so
// that nothing is counted twice.
const (
	VehiclesBySensor     Series = 80
	VehiclesOfThemselves Series = 81
	SensorParticipants   Series = 82
	VehicleParticipants  Series = 83
	SensorSpeedMean      Series = 84
	VehicleSpeedMean     Series = 85
	SensorSpeed          Series = 86
	VehicleSpeed         Series = 87
	Occupancy            Series = 88
	QueueMax             Series = 89
	QueueMean            Series = 90
	Hazards              Series = 91
	LaneVehicles         Series = 92
	SensorUnmatched      Series = 93
	VehicleUnmatched     Series = 94
	IDDefects            Series = 95
	LimitHits            Series = 96
	// OrdinaryVehicles and OrdinarySpeed are the passages that may be released, and
	// the sum of their speeds in mm/s; SpecialVehicles are those that may not. They
	// are for Minute.Passages, and are no series: their difference from the others
	// would tell where police and ambulances were.
	OrdinaryVehicles Series = 97
	OrdinarySpeed    Series = 98
	SpecialVehicles  Series = 99
)

// By source.
var (
	vehiclesBy     = [...]Series{VehiclesBySensor, VehiclesOfThemselves}
	participantsBy = [...]Series{SensorParticipants, VehicleParticipants}
	speedMeanBy    = [...]Series{SensorSpeedMean, VehicleSpeedMean}
	speedBy        = [...]Series{SensorSpeed, VehicleSpeed}
	unmatchedBy    = [...]Series{SensorUnmatched, VehicleUnmatched}
)

// vehicleKinds, and the names of participants and hazards: their order stands in
// records.
var (
	vehicleKinds     = []string{road.Motor.String(), road.NonMotor.String()}
	participantKinds = []string{road.UnknownType.String(), road.Motor.String(), road.NonMotor.String(), road.Pedestrian.String()}
	// hazardKinds are by the place of their flag; those without a name are none.
	hazardKinds = []string{"airbag", "disabled", "flat_tire", "", "", "hard_braking", "", "", "stability_control", "traction_loss", "abs", "", "hazard_lights"}
)

var hazardFlags = func() (all uint16) {
	for i, name := range hazardKinds {
		if name != "" {
			all |= 1 << i
		}
	}
	return all
}()

const (
	sensors  = "sensor"
	vehicles = "vehicle"
)

var roadSeries = map[Series]Definition{
	VehiclesBySensor:     vehiclesOf(sensors, false),
	VehiclesOfThemselves: vehiclesOf(vehicles, true),
	SensorParticipants:   participantsOf(sensors),
	VehicleParticipants:  participantsOf(vehicles),
	SensorSpeedMean:      speedMeanOf(sensors),
	VehicleSpeedMean:     speedMeanOf(vehicles),
	SensorSpeed:          speedOf(sensors),
	VehicleSpeed:         speedOf(vehicles),
	Occupancy: {Name: "road_occupancy", Unit: "1", Subject: OfLink, Form: Mean, Source: sensors,
		ZH: "检测断面时间占有率（0 至 1，各车道平均）", EN: "share of the minute in which a vehicle is over the detector, mean of the lanes"},
	QueueMax: {Name: "road_queue_length_max", Unit: "m", Subject: OfLink, Form: Max, Source: sensors,
		ZH: "停车线前最大排队长度（每 5 秒一次，精度 1 米）", EN: "longest queue before the stop line, looked at each 5 s, to a metre"},
	QueueMean: {Name: "road_queue_length_mean", Unit: "m", Subject: OfLink, Form: Mean, Source: sensors,
		ZH: "停车线前平均排队长度", EN: "mean queue before the stop line"},
	Hazards: {Name: "road_hazards", Unit: "1", Subject: OfLink, Source: vehicles, PartLabel: "hazard", Parts: hazardKinds,
		ZH: "每分钟上报险情的车辆数（急刹、ABS 等）", EN: "vehicles that tell of a hazard, such as hard braking"},
	LaneVehicles: {Name: "road_lane_vehicles", Unit: "1", Subject: OfLane, Source: sensors,
		ZH: "每分钟各车道通过检测断面的机动车数", EN: "motor vehicles that passed the detector, by lane"},
	SensorUnmatched:  unmatchedOf(sensors),
	VehicleUnmatched: unmatchedOf(vehicles),
	IDDefects: {Name: "rsu_id_defects", Unit: "1", PartLabel: "defect", Parts: idDefects,
		ZH: "车辆临时标识缺陷：不更换（fixed）、全零（zero）、同时出现在多个路侧单元（shared）", EN: "defects of vehicles' temporary ids: fixed, zero, or shared by vehicles far apart"},
	LimitHits: {Name: "rsu_limit_hits", Unit: "1", PartLabel: "limit", Parts: limits,
		ZH: "因数量上限而未处理的次数", EN: "what was left out because of a bound, times"},
}

func vehiclesOf(who string, sparse bool) Definition {
	return Definition{Name: "road_vehicles", Unit: "1", Subject: OfLink, Source: who, PartLabel: "type", Parts: vehicleKinds, Sparse: sparse,
		ZH: "每分钟通过检测断面（停车线前 30 米）的车辆数", EN: "vehicles that passed the detector, 30 m before the stop line"}
}

func participantsOf(who string) Definition {
	return Definition{Name: "road_participants", Unit: "1", Subject: OfLink, Source: who, PartLabel: "type", Parts: participantKinds,
		ZH: "每分钟出现在路段上的交通参与者数", EN: "participants that were seen on the link"}
}

func speedMeanOf(who string) Definition {
	return Definition{Name: "road_speed_mean", Unit: "m/s", Subject: OfLink, Form: Mean, Source: who,
		ZH: "机动车通过检测断面的平均速度", EN: "mean speed of motor vehicles at the detector"}
}

func speedOf(who string) Definition {
	return Definition{Name: "road_speed", Unit: "m/s", Subject: OfLink, Form: Quantiles, Source: who, Scale: func(part float64) float64 { return part * speedStep },
		ZH: "机动车通过检测断面速度的分位数（误差小于 0.25 m/s）", EN: "quantiles of the speed of motor vehicles at the detector, off by less than 0.25 m/s"}
}

func unmatchedOf(who string) Definition {
	return Definition{Name: "road_unmatched", Unit: "1", Source: who,
		ZH: "未能匹配到地图路段的观测数", EN: "sights of participants that are on no link of the unit's map"}
}
