package traffic

var roadSeries = map[Series]Definition{}
