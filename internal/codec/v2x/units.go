package v2x

// What numbers mean in SI units (degrees for angles), and whether they are
// available.

// SI is in degrees.
func (v Latitude) SI() (float64, bool) { return float64(v) / 1e7, v != 900000001 }

// SI is in degrees.
func (v Longitude) SI() (float64, bool) { return float64(v) / 1e7, v != 1800000001 }

// SI is in metres above the ellipsoid.
func (v Elevation) SI() (float64, bool) { return float64(v) / 10, v != -4096 }

// SI is in metres per second.
func (v Speed) SI() (float64, bool) { return float64(v) / 50, v != 8191 }

// SI is in degrees clockwise from north.
func (v Heading) SI() (float64, bool) { return float64(v) / 80, v != 28800 }

// SI is in degrees clockwise from north.
func (v CoarseHeading) SI() (float64, bool) { return float64(v) * 1.5, v != 240 }

// SI is in degrees, positive to the right.
func (v SteeringWheelAngle) SI() (float64, bool) { return float64(v) * 1.5, v != 127 }

// SI is in metres per second squared.
func (v Acceleration) SI() (float64, bool) { return float64(v) / 100, v != 2001 }

// SI is in metres per second squared.
func (v VerticalAcceleration) SI() (float64, bool) { return float64(v) / 50 * 9.80665, v != -127 }

// SI is in degrees per second.
func (v YawRate) SI() (float64, bool) { return float64(v) / 100, true }

// SI is in metres.
func (v SemiMajorAxisAccuracy) SI() (float64, bool) { return float64(v) / 20, v != 255 }

// SI is in metres.
func (v SemiMinorAxisAccuracy) SI() (float64, bool) { return float64(v) / 20, v != 255 }

// SI is in degrees clockwise from north.
func (v SemiMajorAxisOrientation) SI() (float64, bool) {
	return float64(v) * 360 / 65535, v != 65535
}

// SI is in seconds of the minute.
func (v DSecond) SI() (float64, bool) { return float64(v) / 1000, v != 65535 }

// SI is in seconds, of the hour or from now.
func (v TimeMark) SI() (float64, bool) { return float64(v) / 10, v < 36000 }

// SI is in seconds before the message.
func (v TimeOffset) SI() (float64, bool) { return float64(v) / 100, v != 65535 }

// SI is in metres.
func (v LaneWidth) SI() (float64, bool) { return float64(v) / 100, true }

// SI is in metres.
func (v Radius) SI() (float64, bool) { return float64(v) / 10, true }

// SI is in metres, positive to the right; a straight road has no radius.
func (v RadiusOfCurvature) SI() (float64, bool) { return float64(v) / 10, v != 32767 }

// SI is a share of one.
func (v Confidence) SI() (float64, bool) { return float64(v) / 200, true }

// SI is in metres.
func (v VehicleWidth) SI() (float64, bool) { return float64(v) / 100, v != 0 }

// SI is in metres.
func (v VehicleLength) SI() (float64, bool) { return float64(v) / 100, v != 0 }

// SI is in metres.
func (v VehicleHeight) SI() (float64, bool) { return float64(v) / 20, v != 0 }

// Offsets from a reference position.

// SI is in degrees.
func (v OffsetLLB12) SI() (float64, bool) { return float64(v) / 1e7, true }

// SI is in degrees.
func (v OffsetLLB14) SI() (float64, bool) { return float64(v) / 1e7, true }

// SI is in degrees.
func (v OffsetLLB16) SI() (float64, bool) { return float64(v) / 1e7, true }

// SI is in degrees.
func (v OffsetLLB18) SI() (float64, bool) { return float64(v) / 1e7, true }

// SI is in degrees.
func (v OffsetLLB22) SI() (float64, bool) { return float64(v) / 1e7, true }

// SI is in degrees.
func (v OffsetLLB24) SI() (float64, bool) { return float64(v) / 1e7, true }

// SI is in metres.
func (v VertOffsetB07) SI() (float64, bool) { return float64(v) / 10, true }

// SI is in metres.
func (v VertOffsetB08) SI() (float64, bool) { return float64(v) / 10, true }

// SI is in metres.
func (v VertOffsetB09) SI() (float64, bool) { return float64(v) / 10, true }

// SI is in metres.
func (v VertOffsetB10) SI() (float64, bool) { return float64(v) / 10, true }

// SI is in metres.
func (v VertOffsetB11) SI() (float64, bool) { return float64(v) / 10, true }

// SI is in metres.
func (v VertOffsetB12) SI() (float64, bool) { return float64(v) / 10, true }

// Level is the urgency, 0 to 7.
func (v RSIPriority) Level() int { return int(v[0] >> 5) }

// Resolve returns the position that lies off a reference position.
func (x *PositionOffsetLLV) Resolve(from *Position3D) (lat Latitude, lon Longitude) {
	o := &x.OffsetLL
	lat, lon = from.Lat, from.Long
	switch o.Alt {
	case PositionOffsetLLPositionLL1:
		return lat + Latitude(o.PositionLL1.Lat), lon + Longitude(o.PositionLL1.Lon)
	case PositionOffsetLLPositionLL2:
		return lat + Latitude(o.PositionLL2.Lat), lon + Longitude(o.PositionLL2.Lon)
	case PositionOffsetLLPositionLL3:
		return lat + Latitude(o.PositionLL3.Lat), lon + Longitude(o.PositionLL3.Lon)
	case PositionOffsetLLPositionLL4:
		return lat + Latitude(o.PositionLL4.Lat), lon + Longitude(o.PositionLL4.Lon)
	case PositionOffsetLLPositionLL5:
		return lat + Latitude(o.PositionLL5.Lat), lon + Longitude(o.PositionLL5.Lon)
	case PositionOffsetLLPositionLL6:
		return lat + Latitude(o.PositionLL6.Lat), lon + Longitude(o.PositionLL6.Lon)
	case PositionOffsetLLPositionLatLon:
		return o.PositionLatLon.Lat, o.PositionLatLon.Lon
	}
	return lat, lon
}
