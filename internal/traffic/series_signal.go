package traffic

var signalSeries = map[Series]Definition{}
