package traffic

var eventSeries = map[Series]Definition{}
