package oracle

import (
	"net/http"
	"net/url"
	"strconv"
)

func at(sec int) string { return strconv.Itoa(epoch + sec) }

func form(kv ...string) url.Values {
	v := url.Values{}
	for i := 0; i+1 < len(kv); i += 2 {
		v.Add(kv[i], kv[i+1])
	}
	return v
}

// corpus is the list of requests that both APIs must answer alike.
func corpus() []ask {
	var all []ask
	get := func(path string, kv ...string) { all = append(all, ask{http.MethodGet, path, form(kv...)}) }
	both := func(path string, kv ...string) {
		get(path, kv...)
		all = append(all, ask{http.MethodPost, path, form(kv...)})
	}
	queries(both)
	ranges(both)
	labelAsks(get, both)
	searchAsks(both)
	statusAsks(get, both)
	for _, m := range []string{http.MethodPut, http.MethodDelete, http.MethodPatch} {
		all = append(all, ask{m, "/query", form("query", "1")}, ask{m, "/series", nil})
	}
	all = append(all, ask{http.MethodPost, "/label/device/values", nil}, ask{http.MethodPost, "/rules", nil},
		ask{http.MethodGet, "/read", nil}, ask{http.MethodGet, "/nothing", nil},
		ask{http.MethodOptions, "/query", nil}, ask{http.MethodOptions, "/anything/at/all", nil})
	return all
}

func queries(both func(string, ...string)) {
	for _, q := range []string{
		"1+1", "1/0", "-1/0", "0/0", "1e30", "0.0000001", "1.5", `"a string <&> 長"`, "time()", "pi()", "vector(1)", "scalar(temperature)",
		"temperature", `temperature{device="t1"}`, `temperature{region=~"2201.*",site!="a"}`, "sort(temperature)", "sort_desc(temperature)",
		"sum(temperature)", "sum by (region) (temperature)", "avg without (device,site) (temperature)", "topk(3, sort(temperature))", "quantile(0.9, temperature)",
		"count_values(\"v\", ended)", "rate(requests_total[5m])", "sum(rate(requests_total[5m])) by (device)", "increase(requests_total[1h])", "rate(temperature[5m])",
		"temperature[1m]", `temperature{device="t2"}[45s] offset 1m`, "max_over_time(temperature[10m:1m])", "temperature[5m:1m]", "temperature offset 30m", "temperature @ " + at(600), "temperature @ start()",
		"odd", "sort(odd)", "odd_labels", `{"utf8.metric/温度"}`, "ended", "native", "native_custom", "native[5m]", "histogram_count(native)", "rate(native[5m])", "sum(native)", "native + native_custom",
		"histogram_quantile(0.9, rate(latency_bucket[5m]))", "histogram_quantile(2, latency_bucket)", "temperature > 25", "temperature > bool 25", "temperature and on (device) requests_total",
		"temperature * on (device) group_left requests_total", "temperature / ignoring (region, site) requests_total", "temperature or vector(0)", "absent(nothing)", "absent(temperature)", "nothing",
		"label_replace(temperature, \"x\", \"$1\", \"device\", \"t(.*)\")", "timestamp(temperature)", "predict_linear(temperature[1h], 3600)", "day_of_week()", "clamp(temperature, 20, 25)",
		// what cannot be evaluated
		"", "sum(", "temperature{", `{}`, `{x=""}`, "rate(temperature)", "temperature + on (site) temperature", "temperature[5m", "unknown_function(1)", "sum(temperature) by", "1 +", "temperature offset", `temperature{device=~"("}`,
		"temperature anchored", "sort_by_label(temperature, \"device\")", "histogram_quantile(0.9, temperature)", "<b>", "label_replace(temperature, \"device\", \"x\", \"\", \"\")", "quantile(1.5, temperature)",
	} {
		both("/query", "query", q, "time", at(3600))
	}
	for _, when := range []string{at(60), at(60) + ".5", at(60) + ".123", at(60) + ".1234567", "2026-01-01T00:10:00Z", "2026-01-01T08:10:00.250+08:00", "4", "-1", "-0.5", "1e9", "NaN", "now", "1767225600000", "-292273086-05-16T16:47:06Z"} {
		both("/query", "query", "sum(temperature)", "time", when)
		both("/query", "query", "1+1", "time", when)
	}
	for _, limit := range []string{"0", "1", "5", "12", "100", "-1", "x", "1.5", "99999999999999999999"} {
		both("/query", "query", "temperature", "time", at(600), "limit", limit)
		both("/query", "query", "1", "time", at(600), "limit", limit)
	}
	for _, v := range []string{"true", "all", "1", "<x>"} {
		both("/query", "query", "sum(rate(requests_total[5m]))", "time", at(600), "stats", v)
	}
	for _, v := range []string{"10s", "1.5", "0", "-5s", "x", "1h"} {
		both("/query", "query", "temperature", "time", at(600), "timeout", v)
		both("/query", "query", "odd", "time", at(600), "lookback_delta", v)
	}
	both("/query", "query", "temperature", "time", at(600), "timeout", "1e300")
	both("/query")
}

func ranges(both func(string, ...string)) {
	between := func(q string, kv ...string) {
		both("/query_range", append([]string{"query", q, "start", at(0), "end", at(1800), "step", "60"}, kv...)...)
	}
	for _, q := range []string{
		"temperature", "sum(temperature)", "rate(requests_total[5m])", "1", "time()", "vector(time())", "odd", "odd_labels", "native", "rate(native[2m])", "ended", "nothing", "absent(ended)",
		"avg by (site) (avg_over_time(temperature[10m]))", "temperature[5m]", `"string"`, "sum(", "temperature @ end()", "max_over_time(sum(temperature)[10m:2m])", "topk(2, temperature)", "histogram_quantile(0.5, rate(latency_bucket[2m]))", "native or temperature",
	} {
		between(q)
	}
	between("temperature", "limit", "3")
	between("temperature", "limit", "-3")
	between("temperature", "stats", "all")
	between("temperature", "timeout", "0s")
	between("odd", "lookback_delta", "30s")
	for _, p := range [][3]string{
		{at(0), at(1800), "0.5"}, {at(0), at(1800), "1m30s"}, {at(0) + ".25", at(1800) + ".75", "30.5"}, {at(0), at(0), "1"}, {at(0), at(1800), "0"}, {at(0), at(1800), "-1"}, {at(0), at(1800), ""}, {at(0), at(1800), "x"},
		{at(0), at(11000), "1"}, {at(0), at(11001), "1"}, {at(0), at(11001), "0.9999"}, {at(1800), at(0), "60"}, {"", at(0), "60"}, {at(0), "", "60"}, {"x", at(0), "60"}, {at(0), "y", "60"}, {at(0), at(60), "1e-10"}, {at(0), at(60), "9e99"},
		{"2026-01-01T00:00:00Z", "2026-01-01T00:20:00Z", "5m"}, {at(0), at(1800), "1ms"},
	} {
		both("/query_range", "query", "sum(temperature)", "start", p[0], "end", p[1], "step", p[2])
	}
}

func labelAsks(get, both func(string, ...string)) {
	for _, path := range []string{"/labels", "/label/device/values", "/label/__name__/values", "/label/text/values", "/label/U__utf8_2e_label_2d__540d_/values", "/label/U__bad_zz_/values", "/label/no.such/values", "/label/missing/values"} {
		ask := get
		if path == "/labels" {
			ask = both
		}
		ask(path)
		ask(path, "match[]", "temperature")
		ask(path, "match[]", "temperature", "match[]", "requests_total")
		ask(path, "match[]", `{device="t1"}`, "match[]", "odd_labels", "limit", "2")
		ask(path, "start", at(0), "end", at(60))
		ask(path, "start", "1", "end", "2")
		ask(path, "match[]", "nothing")
		ask(path, "match[]", "{}")
		ask(path, "match[]", "sum(temperature)")
		ask(path, "limit", "1")
		ask(path, "limit", "100")
		ask(path, "limit", "x")
		ask(path, "start", "x")
		ask(path, "end", "y")
		ask(path, "start", "-292273086-05-16T16:47:06Z", "end", "292277025-08-18T07:12:54.999999999Z")
	}
	both("/series")
	for _, kv := range [][]string{
		{"match[]", "temperature"}, {"match[]", "temperature", "match[]", "requests_total"}, {"match[]", "temperature", "match[]", `{device="t1"}`}, {"match[]", "odd_labels"}, {"match[]", `{"utf8.metric/温度"}`},
		{"match[]", "nothing"}, {"match[]", "{}"}, {"match[]", `{x=~".*"}`}, {"match[]", "sum("}, {"match[]", ""}, {"match[]", "temperature", "limit", "2"}, {"match[]", "temperature", "limit", "12"}, {"match[]", "temperature", "limit", "-2"},
		{"match[]", "temperature", "match[]", "odd", "limit", "5"}, {"match[]", "temperature", "start", "1", "end", "2"}, {"match[]", "odd", "start", at(0), "end", at(600)}, {"match[]", "odd", "start", "x"}, {"match[]", "odd", "end", "x"}, {"match[]", "native"},
	} {
		both("/series", kv...)
	}
}

func searchAsks(both func(string, ...string)) {
	within := func(path string, kv ...string) {
		both("/search/"+path, append([]string{"start", at(0), "end", at(7200)}, kv...)...)
	}
	for _, path := range []string{"metric_names", "label_names", "label_values"} {
		label := []string{}
		if path == "label_values" {
			label = []string{"label", "device"}
		}
		ask := func(kv ...string) { within(path, append(label, kv...)...) }
		ask()
		ask("search[]", "te")
		ask("search[]", "t1", "search[]", "req")
		ask("search[]", "TEMP", "case_sensitive", "false", "include_score", "true")
		ask("search[]", "tmp", "include_score", "true", "sort_by", "score")
		ask("search[]", "dvc", "include_score", "1", "fuzz_threshold", "80")
		ask("search[]", "divice", "fuzz_alg", "jarowinkler", "fuzz_threshold", "60", "include_score", "true")
		ask("search[]", "e", "fuzz_alg", "jarowinkler", "include_score", "true")
		ask("sort_by", "alpha", "sort_dir", "dsc", "limit", "3", "batch_size", "2")
		ask("search[]", "")
		ask("limit", "2")
		ask("limit", "5", "batch_size", "2")
		ask("match[]", "temperature", "match[]", "odd")
		ask("match[]", "nothing")
		ask("match[]", "{}")
		ask("sort_by", "size")
		ask("sort_by", "score")
		ask("sort_dir", "asc")
		ask("sort_by", "alpha", "sort_dir", "up")
		ask("sort_by", "score", "sort_dir", "asc", "search[]", "x")
		ask("limit", "0")
		ask("batch_size", "x")
		ask("fuzz_threshold", "101")
		ask("fuzz_alg", "soundex")
		ask("include_score", "maybe")
		ask("case_sensitive", "maybe")
	}
	within("metric_names", "include_metadata", "true")
	within("metric_names", "include_metadata", "x")
	within("label_values")
	within("label_values", "label", "text")
	both("/search/metric_names", "start", at(10), "end", at(0))
	both("/search/metric_names", "start", "x")
}

func statusAsks(get, both func(string, ...string)) {
	for _, q := range []string{
		"1+1", "temperature", `temperature{device="t1",site!~"a|b"}[5m] offset 1h`, "sum by (region) (rate(requests_total[5m]))", "topk(3, temperature)", "temperature * on (device) group_left (site) requests_total", "-temperature", "(temperature)",
		"max_over_time(rate(requests_total[5m])[30m:1m] @ 5 offset 2m)", "temperature @ start()", `count_values("x", odd)`, `"string"`, "label_replace(temperature, \"x\", \"$1\", \"device\", \"(.*)\")", "temperature offset -5m", "temperature > bool 3 or odd unless native", `{"utf8.metric/温度"}`,
		"rate(temperature[5m * 2])", "temperature[step()]", "temperature offset (1h / 2)", "round(temperature, 5)", "time()", "sum(", "", "temperature{", "0x1F", "Inf", "1e-9", "temperature[5m:]", "quantile without (device) (0.5, temperature)", "a + ignoring (x) group_right b", "foo:bar:baz", "a == b",
	} {
		both("/format_query", "query", q)
		both("/parse_query", "query", q)
		both("/query_exemplars", "query", q, "start", "1767225600000", "end", "1767229200000")
	}
	both("/query_exemplars", "query", "test", "start", at(0), "end", at(60))
	both("/query_exemplars", "query", "test", "start", at(60), "end", at(0))
	both("/query_exemplars", "query", "test", "start", "x")
	for _, path := range []string{"/metadata", "/rules", "/alerts", "/targets", "/targets/metadata", "/scrape_pools", "/alertmanagers", "/status/buildinfo", "/status/flags", "/status/config"} {
		get(path)
	}
	get("/metadata", "metric", "temperature", "limit", "5", "limit_per_metric", "1")
	get("/metadata", "limit", "x")
	get("/metadata", "limit_per_metric", "x")
	get("/targets/metadata", "limit", "x")
	get("/targets/metadata", "match_target", "{")
	for _, kv := range [][]string{
		{"type", "alert"}, {"type", "Record"}, {"type", "x"}, {"exclude_alerts", "true"}, {"exclude_alerts", "x"}, {"group_limit", "5"}, {"group_limit", "0"}, {"group_limit", "x"}, {"group_next_token", "t"}, {"group_limit", "5", "group_next_token", "t"},
		{"match[]", "{a=\"b\"}"}, {"match[]", "{}"}, {"match[]", "("}, {"rule_name[]", "x", "file[]", "y", "rule_group[]", "z"},
	} {
		get("/rules", kv...)
	}
	get("/status/tsdb", "limit", "0")
	get("/status/tsdb", "limit", "x")
	get("/status/tsdb", "limit", "10001")
}
