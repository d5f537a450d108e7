package sensorthings

import "net/url"

// ucum are the codes of SenML (RFC 8428, RFC 8798) and of senders that UCUM
// writes in another way.
var ucum = map[string]string{
	"/": "1", "%RH": "%", "%EL": "%", "degC": "Cel", "degF": "[degF]", "ppm": "[ppm]", "ppb": "[ppb]",
	"Wh": "W.h", "kWh": "kW.h", "MWh": "MW.h", "VA": "V.A", "kVA": "kV.A", "var": "V.A{reactive}", "kvar": "kV.A{reactive}", "VAh": "V.A.h",
	"B": "By", "KiB": "KiBy", "MiB": "MiBy", "GiB": "GiBy", "B/s": "By/s", "MB/s": "MBy/s",
	"lat": "deg", "lon": "deg", "dBm": "dB{mW}", "dBW": "dB[W]", "ha": "har", "beats": "{beats}", "count": "{count}", "beat/min": "{beats}/min",
}

// unitOf is a unitOfMeasurement. Without a unit its three members are null, as
// the standard has it (OGC 18-088, 8.2.4).
func unitOf(code string) value {
	if code == "" {
		return objectOf(field{"name", value{}}, field{"symbol", value{}}, field{"definition", value{}})
	}
	symbol, ok := ucum[code]
	if !ok {
		symbol = code
	}
	return objectOf(field{"name", textOf(symbol)}, field{"symbol", textOf(symbol)},
		field{"definition", textOf("http://www.opengis.net/def/uom/UCUM/0/" + url.PathEscape(symbol))})
}
