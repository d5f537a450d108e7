package archtest

import "slices"

// rule says what a package may know of; what it does not name is forbidden. The
// most specific rule of a package counts: its own, else that of the nearest
// folder above whose name ends in "/...".
type rule struct {
	of string
	// own are the packages of this module that it may import, besides those of
	// internal/progress and the like that know of nothing (see free).
	own []string
	// never are packages of others that it may not, each with all below.
	never []string
	// pure packages do not ask what time it is: a clock is an argument.
	pure   bool
	reason string
}

// free may be imported by everybody who talks to people: at a terminal, or about
// their configuration.
var free = []string{"internal/progress", "internal/config/strict"}

var (
	noIO = []string{"net", "os", "database", "log", "io/fs"}
	// exceptAddresses is noIO for those who write addresses, with net/url.
	exceptAddresses = []string{"net/http", "net/netip", "net/rpc", "net/smtp", "os", "database", "log", "io/fs"}

	noSQL = []string{"database/sql"}
	noWeb = []string{"net/http"}

	// everybodys are the libraries without an owner.
	everybodys = []string{"github.com/prometheus/client_golang", "golang.org/x/sync"}
)

// table is the table of imports. A new package gets a line here, with the
// reason why it may know no more.
var table = []rule{
	{of: "internal/telemetry", never: slices.Concat(noIO, []string{"github.com", "golang.org"}), pure: true,
		reason: "the nouns depend on the standard library only, so that everything may depend on them"},
	{of: "internal/codec", own: []string{"internal/telemetry"}, never: slices.Concat(noIO, everybodys), pure: true,
		reason: "a codec is bytes in, samples out, and knows of no device but the one it is told"},
	{of: "internal/codec/v2x", never: slices.Concat(noIO, everybodys), pure: true,
		reason: "frames are bits in, values out; both programs and the road view use it"},
	{of: "internal/codec/v2x/gen", reason: "a generator is a program of its own"},

	{of: "internal/personal", never: slices.Concat(noIO, everybodys), pure: true,
		reason: "text in, what names a person out; every door to people's eyes may ask it"},
	{of: "internal/road", never: slices.Concat(noIO, everybodys), pure: true,
		reason: "the nouns of the road depend on no form that they come in"},
	{of: "internal/road/dialect", own: []string{"internal/codec/v2x", "internal/config/strict", "internal/personal", "internal/road"}, never: slices.Concat(noSQL, noWeb, everybodys),
		reason: "what units send becomes nouns without knowing who asks"},
	{of: "internal/catalog", own: []string{"internal/telemetry"}, never: slices.Concat(exceptAddresses, everybodys), pure: true,
		reason: "what the law says of datasets depends on no store and no form of publication"},
	{of: "internal/catalog/register", own: []string{"internal/access", "internal/catalog", "internal/quota", "internal/records", "internal/telemetry"}, never: noWeb,
		reason: "the register keeps datasets without knowing by which door they are asked for, or in which form they are published"},
	{of: "internal/catalog/dcat", own: []string{"internal/catalog", "internal/telemetry"}, never: slices.Concat(noIO, everybodys), pure: true,
		reason: "datasets in, triples out; who serves them is another"},
	{of: "internal/catalog/ckan", own: []string{"internal/catalog"}, never: slices.Concat(exceptAddresses, everybodys), pure: true,
		reason: "a snapshot and a call in, an answer out; who pushes and serves is another"},
	{of: "internal/catalog/province", own: []string{"internal/catalog", "internal/telemetry"}, never: slices.Concat(noIO, everybodys), pure: true,
		reason: "a snapshot and code tables in, a document out; who sends it is another"},
	{of: "internal/catalog/feed", own: []string{"internal/catalog", "internal/catalog/dcat", "internal/catalog/ckan", "internal/records"},
		reason: "what the public reads is made of what it is handed, without knowing who keeps datasets or sends them on"},
	{of: "internal/catalog/outbox", own: []string{"internal/access", "internal/catalog", "internal/edge/backoff", "internal/records"}, never: noWeb,
		reason: "what is owed to a destination is kept without knowing how it is sent"},
	{of: "internal/catalog/ckan/push", own: []string{"internal/catalog", "internal/catalog/ckan", "internal/catalog/outbox"}, never: noSQL,
		reason: "a CKAN is told what a dataset is; when, and how often, the outbox says"},
	{of: "internal/catalog/province/deliver", own: []string{"internal/catalog", "internal/catalog/outbox", "internal/catalog/province"}, never: noSQL,
		reason: "a platform is told what a dataset is; when, and how often, the outbox says"},
	{of: "internal/catalog/catalogtest", own: []string{"internal/catalog", "internal/telemetry"}, never: noSQL,
		reason: "outlets are tested with datasets that no register made"},
	{of: "internal/catalog/release", own: []string{"internal/catalog", "internal/telemetry"}, never: slices.Concat(noSQL, []string{"github.com/prometheus/client_golang"}),
		reason: "a table becomes files without knowing what its rows were made of, or who may read them"},
	{of: "internal/catalog/search", own: []string{"internal/catalog"}, never: slices.Concat(noIO, everybodys), pure: true,
		reason: "what is found is decided from a snapshot alone"},
	{of: "internal/catalog/source", own: []string{"internal/catalog", "internal/catalog/gate", "internal/catalog/release"}, never: slices.Concat(noIO, everybodys), pure: true,
		reason: "series and passages in, tables out; who reads stores is another"},
	{of: "internal/catalog/publish", own: []string{"internal/access", "internal/catalog", "internal/catalog/gate", "internal/catalog/gate/attack", "internal/catalog/release", "internal/catalog/source", "internal/config/strict", "internal/personal", "internal/records", "internal/telemetry"}, never: noWeb,
		reason: "when what is released is decided without knowing how series are stored or files are made"},
	{of: "internal/traffic", own: []string{"internal/road"}, never: slices.Concat(noIO, everybodys), pure: true,
		reason: "messages and time in, numbers and states out; what is on disk is its caller's"},
	{of: "internal/traffic/intake", own: []string{"internal/codec", "internal/codec/v2x", "internal/ingest", "internal/quota", "internal/road", "internal/road/dialect", "internal/telemetry", "internal/traffic"}, never: slices.Concat(noSQL, noWeb),
		reason: "V2X messages go from ingest to the board, and come back as samples, without knowing of a door or a store"},

	{of: "internal/quota", never: slices.Concat(noSQL, noWeb, []string{"os", "log"}), pure: true,
		reason: "quotas decide and keep count; whose they are, and when, they are told"},

	{of: "internal/ingest", own: []string{"internal/telemetry", "internal/codec", "internal/quota"}, never: slices.Concat(noSQL, noWeb),
		reason: "ingest names what it needs as interfaces of its own and knows of no door, engine or database"},
	{of: "internal/ingest/mqtt", own: []string{"internal/ingest", "internal/codec", "internal/quota", "internal/telemetry"}, never: noSQL,
		reason: "a door knows of no other door and of nothing behind ingest; codec tells it which format a topic names"},
	{of: "internal/ingest/coap", own: []string{"internal/ingest", "internal/codec", "internal/quota", "internal/telemetry"}, never: slices.Concat(noSQL, noWeb),
		reason: "a door knows of no other door and of nothing behind ingest; codec tells it which format a content format names"},
	{of: "internal/ingest/http", own: []string{"internal/ingest", "internal/codec", "internal/quota", "internal/telemetry"}, never: noSQL,
		reason: "a door knows of no other door and of nothing behind ingest; codec tells it which format a media type names"},
	{of: "internal/ingest/desk", own: []string{"internal/ingest", "internal/codec", "internal/telemetry"}, never: slices.Concat(noSQL, noWeb),
		reason: "the desk keeps what ingest refused, and hands it back to ingest"},
	{of: "internal/ingest/doortest", own: []string{"internal/ingest", "internal/quota", "internal/telemetry"},
		reason: "what every door promises is tested without a store"},

	{of: "internal/store", own: []string{"internal/telemetry"}, never: slices.Concat(noSQL, noWeb),
		reason: "the contract of engines knows of none"},
	{of: "internal/store/disk", never: slices.Concat(everybodys, []string{"net", "database"}), reason: "files, space and locks, whatever is kept in them"},
	{of: "internal/store/series", own: []string{"internal/telemetry"}, never: noIO, reason: "ids of label sets, whatever an engine remembers of them"},
	{of: "internal/store/queue", own: []string{"internal/store", "internal/store/disk", "internal/store/series", "internal/edge/backoff", "internal/telemetry"}, never: slices.Concat(noSQL, noWeb),
		reason: "what waits for an engine elsewhere is kept without knowing which engine it is"},
	{of: "internal/store/influx", own: []string{"internal/edge/trust", "internal/store/queue", "internal/telemetry"}, never: noSQL,
		reason: "a server is written to and read by HTTP, without knowing whose samples they are"},
	{of: "internal/store/remotewrite", own: []string{"internal/edge/backoff", "internal/edge/trust", "internal/store/queue", "internal/telemetry"}, never: noSQL,
		reason: "a server is written to and read by HTTP, without knowing whose samples they are"},
	{of: "internal/store/...", own: []string{"internal/store", "internal/store/disk", "internal/store/queue", "internal/store/series", "internal/telemetry"}, never: slices.Concat(noSQL, noWeb),
		reason: "an engine keeps series and knows of nobody who uses them, nor of another engine"},
	{of: "internal/query", own: []string{"internal/store", "internal/access", "internal/telemetry"}, never: noSQL,
		reason: "queries read any storage.Queryable"},

	{of: "internal/catalog/offer", own: []string{"internal/access", "internal/catalog", "internal/catalog/register", "internal/quota", "internal/telemetry"}, never: noSQL,
		reason: "who may read which series as they come follows from the register, whatever interface they are read by"},
	{of: "internal/catalog/quality", own: []string{"internal/catalog", "internal/catalog/register", "internal/records", "internal/registry", "internal/telemetry"},
		reason: "datasets are measured by what is in any storage.Queryable and by asking their addresses as anybody would"},
	{of: "internal/catalog/sensorthings", own: []string{"internal/access", "internal/model", "internal/quota", "internal/registry", "internal/telemetry"}, never: noSQL,
		reason: "an outlet shows what the registry, the models and any storage.Queryable have"},

	{of: "internal/records", reason: "records speaks SQL, no domain words", never: noWeb},
	{of: "internal/registry", own: []string{"internal/records", "internal/access", "internal/telemetry"}, never: noWeb,
		reason: "the registry is asked; it asks nobody, and status codes are chosen in api"},
	{of: "internal/model", own: []string{"internal/records", "internal/telemetry"}, never: noWeb,
		reason: "a model says what a kind of device is, and knows of no device"},
	{of: "internal/access", own: []string{"internal/records", "internal/telemetry"},
		reason: "who may do what is decided without knowing what it is done to"},
	{of: "internal/audit", own: []string{"internal/records", "internal/access"}, never: noWeb,
		reason: "the record of changes names who did it, and knows nothing of what was changed"},

	{of: "internal/authority", own: []string{"internal/access"}, never: slices.Concat(noSQL, noWeb),
		reason: "certificates are issued without knowing to whom, or why"},
	{of: "internal/backfill", own: []string{"internal/access", "internal/codec", "internal/ingest", "internal/records", "internal/telemetry"},
		reason: "history goes the way of all samples; what becomes of it there is not decided here"},
	{of: "internal/backfill/file", own: []string{"internal/codec", "internal/telemetry"}, never: slices.Concat(noSQL, noWeb),
		reason: "files in, parts out; the hub that they go to is another's"},
	{of: "internal/correction", own: []string{"internal/records", "internal/telemetry"}, never: slices.Concat(noWeb, []string{"os"}),
		reason: "samples are put right between the store and whoever reads, who both know nothing of it"},
	{of: "internal/enrolment", own: []string{"internal/access", "internal/audit", "internal/authority", "internal/quota", "internal/records", "internal/registry", "internal/road", "internal/telemetry"}, never: noWeb,
		reason: "a token, a device, its certificate and the record of it are one transaction"},
	{of: "internal/login", own: []string{"internal/access", "internal/audit", "internal/quota"}, never: noSQL,
		reason: "people come in and go out without knowing of any page"},
	{of: "internal/command", own: []string{"internal/records", "internal/telemetry"}, never: noWeb,
		reason: "what is asked of devices is kept without knowing by which door it goes"},
	{of: "internal/twin", own: []string{"internal/mergepatch", "internal/records"}, never: noWeb,
		reason: "configurations are kept without knowing by which door they go"},

	{of: "internal/schedule", own: []string{"internal/telemetry"}, never: slices.Concat(noIO, everybodys), pure: true,
		reason: "the nouns of scheduling decide nothing and keep nothing"},
	{of: "internal/schedule/signal", own: []string{"internal/schedule"}, never: slices.Concat(noIO, everybodys), pure: true,
		reason: "forecasts are values, and the time they are read at is another"},
	{of: "internal/schedule/signal/source", own: []string{"internal/config/strict", "internal/schedule/signal"}, never: noSQL,
		reason: "forecasts are fetched without knowing who plans by them"},
	{of: "internal/schedule/ledger", own: []string{"internal/schedule", "internal/schedule/signal", "internal/records", "internal/telemetry"}, never: noWeb,
		reason: "what is promised is kept without knowing why it was decided"},
	{of: "internal/schedule/plan", own: []string{"internal/schedule", "internal/schedule/optimise", "internal/schedule/signal", "internal/telemetry"}, never: slices.Concat(noIO, everybodys), pure: true,
		reason: "state, queue and time come in as values, and decisions go out"},

	{of: "internal/schedule/optimise", own: []string{"internal/schedule"}, never: slices.Concat(noIO, everybodys), pure: true,
		reason: "many jobs are decided at once from values alone; its time is told by a func"},
	{of: "internal/schedule/loop", own: []string{"internal/schedule", "internal/schedule/...", "internal/records", "internal/telemetry"}, never: slices.Concat(noWeb, noSQL),
		reason: "the loop asks the planner and tells the ledger"},
	{of: "internal/schedule/live", own: []string{"internal/schedule", "internal/schedule/ledger", "internal/schedule/loop", "internal/schedule/plan"}, never: slices.Concat(noWeb, noSQL),
		reason: "what series say is told to the scheduler without knowing how they are asked"},
	{of: "internal/schedule/facility", own: []string{"internal/schedule"}, never: slices.Concat(noSQL, noWeb),
		reason: "the contract of engines knows of none"},
	{of: "internal/schedule/facility/agent", own: []string{"internal/schedule", "internal/schedule/facility"}, never: slices.Concat(noSQL, noWeb),
		reason: "an engine knows of no other, and how its orders reach devices is told to it"},
	{of: "internal/schedule/facility/fence", own: []string{"internal/schedule/facility"}, never: slices.Concat(noSQL, noWeb),
		reason: "what an engine was asked is remembered without knowing which engine it is"},
	{of: "internal/schedule/facility/kubernetes", own: []string{"internal/schedule", "internal/schedule/facility"}, never: noSQL,
		reason: "an engine runs what it is handed and knows of nobody who promised it"},
	{of: "internal/schedule/facility/slurm", own: []string{"internal/schedule", "internal/schedule/facility", "internal/schedule/facility/fence"}, never: noSQL,
		reason: "an engine runs what it is handed and knows of nobody who promised it"},
	{of: "internal/schedule/drive", own: []string{"internal/schedule", "internal/schedule/ledger", "internal/schedule/facility", "internal/edge/backoff"}, never: slices.Concat(noWeb, noSQL),
		reason: "the driver asks engines by their contract and tells the ledger"},
	{of: "internal/schedule/scheduletest", own: []string{"internal/hubtest/freeport", "internal/schedule", "internal/schedule/facility"}, never: slices.Concat(noWeb, noSQL),
		reason: "what every engine promises is tested without a scheduler"},
	{of: "internal/schedule/queue", own: []string{"internal/schedule"}, never: slices.Concat(noIO, everybodys), pure: true,
		reason: "an order is made of what is known of those who wait"},

	{of: "internal/catalog/gate", never: slices.Concat(noIO, everybodys), pure: true,
		reason: "what may be published is decided from values alone; time, randomness and what was published before are handed in"},
	{of: "internal/catalog/gate/attack", own: []string{"internal/catalog/gate"}, never: slices.Concat(noIO, everybodys), pure: true,
		reason: "attackers read what everybody reads"},

	{of: "internal/rules", own: []string{"internal/records", "internal/telemetry"}, never: noWeb,
		reason: "rules ask by a function, and hand on what is to be stored and told"},
	{of: "internal/rules/ruletest", own: []string{"internal/rules"}, never: slices.Concat(noSQL, noWeb),
		reason: "a test of rules has a store of its own, and knows of no hub"},
	{of: "internal/rules/notify", own: []string{"internal/edge/backoff", "internal/records", "internal/rules", "internal/telemetry"},
		reason: "receivers are told of what fires without knowing why it does"},

	{of: "internal/api", own: []string{"internal/rules", "internal/catalog/gate", "internal/catalog/publish", "internal/catalog/quality", "internal/catalog/register", "internal/catalog", "internal/schedule", "internal/schedule/ledger", "internal/schedule/loop", "internal/schedule/plan", "internal/schedule/signal", "internal/access", "internal/audit", "internal/authority", "internal/backfill", "internal/command", "internal/correction", "internal/enrolment", "internal/model", "internal/quota", "internal/registry", "internal/road", "internal/traffic", "internal/twin", "internal/telemetry", "internal/catalog/outbox", "internal/catalog/release"}, never: noSQL,
		reason: "the API asks the owners of things"},
	{of: "internal/web", own: []string{"internal/access", "internal/catalog", "internal/catalog/gate", "internal/catalog/register", "internal/catalog/release", "internal/catalog/search", "internal/login", "internal/road", "internal/schedule", "internal/telemetry", "internal/traffic", "internal/web/basemap"}, never: noSQL,
		reason: "pages show what the API gives"},
	{of: "internal/web/basemap", own: []string{"internal/road", "internal/traffic"}, never: noSQL,
		reason: "roads in, pictures out; whose roads they are is told to it"},
	{of: "internal/client", never: noSQL,
		reason: "what people and the simulator say to a hub goes over the wire"},

	{of: "internal/backup", never: noSQL,
		reason: "folders in, chunks at another place, and back; it knows of no hub"},
	{of: "internal/mergepatch", never: slices.Concat(noIO, everybodys), pure: true, reason: "a value and a patch become a value"},
	{of: "internal/config/strict", never: []string{"net", "os", "database"}, reason: "reads any struct strictly; knows of no config"},
	{of: "internal/config/structdoc", never: []string{"net", "database"}, reason: "reads the comments of any struct"},
	{of: "internal/config/gen", own: []string{"internal/config/structdoc"}, reason: "a generator"},
	{of: "internal/config", never: noSQL, reason: "the config holds the structs of the packages that it configures",
		own: []string{"internal/catalog/publish", "internal/catalog/gate", "internal/catalog", "internal/catalog/ckan/push", "internal/catalog/feed", "internal/catalog/province/deliver", "internal/catalog/quality", "internal/catalog/register", "internal/catalog/release", "internal/catalog/sensorthings", "internal/access", "internal/audit", "internal/authority", "internal/command", "internal/login", "internal/memory", "internal/ingest", "internal/ingest/mqtt", "internal/ingest/coap", "internal/ingest/http", "internal/rules", "internal/rules/notify",
			"internal/ingest/desk", "internal/query", "internal/quota", "internal/schedule/loop", "internal/schedule/signal/source", "internal/store/influx", "internal/store/local", "internal/store/queue", "internal/store/remotewrite", "internal/telemetry", "internal/traffic", "internal/traffic/intake"}},
	{of: "internal/hub", never: noSQL, reason: "the assembly knows the parts of the hub, and none of its clients",
		own: []string{"deploy/alerts", "internal/rules", "internal/rules/notify", "internal/catalog/publish", "internal/catalog/source", "internal/catalog/gate", "internal/access", "internal/api", "internal/audit", "internal/authority", "internal/backup", "internal/catalog", "internal/catalog/ckan/push", "internal/catalog/feed", "internal/catalog/offer", "internal/catalog/outbox", "internal/catalog/province/deliver", "internal/catalog/quality", "internal/catalog/register", "internal/catalog/release", "internal/catalog/sensorthings", "internal/command", "internal/config", "internal/enrolment", "internal/ingest", "internal/ingest/mqtt", "internal/backfill", "internal/correction", "docs/runbooks",
			"internal/ingest/coap", "internal/ingest/http", "internal/ingest/desk", "internal/login", "internal/model", "internal/query", "internal/quota", "internal/records", "internal/registry",
			"internal/personal", "internal/road", "internal/road/dialect", "internal/schedule", "internal/schedule/facility", "internal/schedule/facility/agent", "internal/schedule/facility/kubernetes", "internal/schedule/facility/slurm", "internal/schedule/ledger", "internal/schedule/live", "internal/schedule/loop", "internal/schedule/plan", "internal/schedule/signal", "internal/schedule/signal/source", "internal/edge/backoff", "internal/codec", "internal/store", "internal/store/disk", "internal/store/influx", "internal/store/local", "internal/store/queue", "internal/store/remotewrite", "internal/store/tee", "internal/store/volume", "internal/telemetry", "internal/traffic", "internal/traffic/intake", "internal/twin", "internal/web", "internal/web/basemap"}},

	{of: "internal/edge/spool", never: slices.Concat(everybodys, []string{"net", "database"}), reason: "the spool keeps opaque blocks on disk"},
	{of: "internal/edge/backoff", never: []string{"net", "database"}, reason: "a pause before the next try knows nothing of what is tried"},
	{of: "internal/edge/trust", never: noSQL, reason: "files of keys and authorities become a TLS configuration"},
	{of: "internal/edge/uplink", own: []string{"internal/edge/backoff", "internal/edge/trust"}, never: noSQL, reason: "an uplink carries opaque messages"},
	{of: "internal/edge/uplink/...", own: []string{"internal/edge/uplink", "internal/edge/backoff", "internal/edge/trust"}, never: noSQL, reason: "an uplink carries opaque messages and knows of no other"},
	{of: "internal/edge/source/pattern", never: slices.Concat(noSQL, noWeb), reason: "patterns of names, for any source"},
	{of: "internal/edge/source/program", never: slices.Concat(noSQL, noWeb), reason: "runs a program and what it starts, for any source"},
	{of: "internal/edge/source", own: []string{"internal/edge/backoff", "internal/codec", "internal/telemetry"}, never: noSQL,
		reason: "what all sources share; their configs are read by the reader that the hub's is read by"},
	{of: "internal/edge/source/gpu", own: []string{"internal/edge/source", "internal/edge/source/scrape", "internal/edge/source/program", "internal/edge/backoff", "internal/telemetry"}, never: noSQL,
		reason: "a GPU may be read from an exporter, which is a scrape"},
	{of: "internal/edge/source/...", own: []string{"internal/edge/source", "internal/edge/source/pattern", "internal/edge/source/program", "internal/edge/trust", "internal/codec", "internal/telemetry"}, never: noSQL,
		reason: "a source reads one thing and knows of no other source, spool or uplink"},
	{of: "internal/edge/work", never: slices.Concat(everybodys, []string{"net", "database"}), reason: "programs are run without knowing who asked, or how"},
	{of: "internal/edge", own: []string{"internal/edge/...", "internal/codec", "internal/mergepatch", "internal/telemetry"}, never: noSQL,
		reason: "the agent is a client of the hub and shares only the nouns, the formats and the reader of configs"},

	{of: "internal/simulate", own: []string{"internal/client", "internal/simulate/roads"}, never: noSQL, reason: "the simulator is a client like any other"},
	{of: "internal/simulate/roads", own: []string{"internal/codec/v2x"}, never: slices.Concat(noSQL, noWeb), reason: "a play of the road sends frames, and knows of nobody who reads them"},
	{of: "internal/simulate/load", never: noSQL, reason: "the load generator writes what it sends itself, so that it shares no fault with the hub"},
	{of: "internal/memory", never: slices.Concat(noSQL, noWeb), reason: "the collector of this process"},
	{of: "internal/progress", never: noWeb, reason: "a line at a terminal"},
	{of: "internal/cli", own: []string{"internal/config/strict"}, reason: "help and completion of any program"},
	{of: "internal/hubtest/...", reason: "tests know the hub as its users do: by its doors"},
	{of: "internal/hubtest/engine", own: []string{"internal/hubtest/freeport"}, never: noSQL, reason: "outside engines know of no hub"},
	{of: "internal/hubtest/freeport", never: slices.Concat(noSQL, noWeb), reason: "a port is free for whatever program"},
	{of: "internal/hubtest/issuer", own: []string{"internal/hubtest/freeport"}, never: noSQL, reason: "an issuer of identities knows of no hub"},
	{of: "internal/hubtest", reason: "tests know the hub as its users do: by its doors"},
	{of: "internal/archtest", reason: "reads source text"},

	{of: "client", never: slices.Concat(noSQL, everybodys, []string{"github.com", "golang.org"}), reason: "programs of others import it, and nothing of ours with it"},
	{of: "cmd/hub", own: []string{"internal/api", "internal/audit", "internal/backfill", "internal/backfill/file", "internal/backup", "internal/catalog", "internal/catalog/register", "internal/cli", "internal/client", "internal/codec", "internal/codec/v2x", "internal/config", "internal/edge", "internal/hub", "internal/model", "internal/road", "internal/road/dialect", "internal/simulate", "internal/simulate/load", "internal/simulate/roads", "internal/telemetry", "internal/catalog/release", "deploy/alerts", "internal/rules", "internal/rules/ruletest"}, never: noSQL,
		reason: "a command speaks to a hub by its API, or runs one"},
	{of: "cmd/edge-agent", own: []string{"internal/cli", "internal/edge", "internal/edge/spool", "internal/simulate"}, never: noSQL,
		reason: "the agent stays small"},
	{of: "docs/gen", own: []string{"deploy/alerts", "internal/rules", "internal/config", "internal/edge", "internal/telemetry"}, reason: "the generator of references"},
	{of: "internal/edge/source/gendoc", own: []string{"internal/edge/source"}, reason: "a generator"},
	{of: "dashboards/...", reason: "boards are text"},
	{of: "dashboards", reason: "boards are text"},
	{of: "deploy/alerts", reason: "rules are text"},
	{of: "docs/runbooks", reason: "pages are text"},
	{of: "deploy", reason: "what runs the programs is text"},
}

// libraries are the modules of others that we use, and the only folders that
// may import them; no folder means everybody. The longest path counts, so a
// part of a module may belong to other folders than the rest.
var libraries = []struct {
	path    string
	folders []string
}{
	{"github.com/prometheus/client_golang", nil},
	{"golang.org/x/sync", nil},

	{"filippo.io/age", []string{"internal/backup", "cmd/hub"}},
	{"github.com/chromedp", []string{"internal/hubtest/browser"}},
	{"github.com/KimMachineGun/automemlimit", []string{"internal/memory"}},
	{"github.com/coder/websocket", []string{"internal/ingest/mqtt"}},
	{"github.com/coreos/go-oidc", []string{"internal/login"}},
	{"github.com/danielgtaylor/huma", []string{"internal/api"}},
	{"github.com/eclipse/paho.mqtt.golang", []string{"internal/ingest/mqtt", "internal/edge/uplink/mqtt", "internal/edge/source/mqtt", "internal/simulate"}},
	{"github.com/fxamacker/cbor", []string{"internal/ingest/desk", "internal/simulate"}},
	{"github.com/golang/snappy", []string{"internal/codec"}},
	{"github.com/google/go-cmp", []string{"internal/store/storetest"}},
	{"github.com/gosnmp/gosnmp", []string{"internal/edge/source/snmp"}},
	{"github.com/influxdata/influxdb-client-go", []string{"internal/store/influx"}},
	{"github.com/klauspost/compress", []string{"internal/backup", "internal/edge", "internal/edge/uplink", "internal/ingest/http", "internal/ingest/mqtt", "internal/query", "internal/schedule/ledger", "internal/catalog/release", "internal/store/influx", "internal/store/remotewrite"}},
	{"github.com/minio/minio-go", []string{"internal/backup"}},
	{"github.com/oklog/ulid", []string{"internal/store/local"}},
	{"github.com/parquet-go/parquet-go", []string{"internal/catalog/release"}},
	{"github.com/pion", []string{"internal/ingest/coap", "internal/edge/uplink/coap"}},
	{"github.com/plgd-dev/go-coap", []string{"internal/ingest/coap", "internal/edge/uplink/coap", "internal/simulate"}},
	{"github.com/pressly/goose", []string{"internal/records"}},
	{"github.com/prometheus/client_model", []string{"internal/hub", "internal/store/local"}},
	{"github.com/prometheus/common", []string{"internal/query", "internal/store/remotewrite", "internal/rules", "internal/rules/ruletest"}},
	{"github.com/prometheus/otlptranslator", []string{"internal/codec"}},
	{"github.com/prometheus/prometheus/model", []string{"internal/catalog/sensorthings", "internal/hub", "internal/query", "internal/store/local", "internal/store/queue", "internal/store/series", "internal/store/storetest", "internal/catalog/offer", "internal/catalog/quality", "internal/store/remotewrite", "internal/store/tee", "internal/rules", "internal/backfill/file", "internal/correction", "internal/rules/ruletest", "internal/rules/notify", "internal/store/influx"}},
	{"github.com/prometheus/prometheus/prompb", []string{"internal/query", "internal/store/remotewrite"}},
	{"github.com/prometheus/prometheus/promql", []string{"internal/query", "internal/rules", "internal/hub", "internal/rules/ruletest"}},
	{"github.com/prometheus/prometheus/storage", []string{"internal/catalog/offer", "internal/catalog/quality", "internal/catalog/sensorthings", "internal/hub", "internal/store", "internal/store/local", "internal/query", "internal/store/remotewrite", "internal/store/tee", "internal/backfill/file", "internal/correction", "internal/rules/ruletest", "internal/store/influx"}},
	{"github.com/prometheus/prometheus/template", []string{"internal/rules"}},
	{"github.com/prometheus/prometheus/tsdb", []string{"internal/backfill/file", "internal/store/local"}},
	{"github.com/prometheus/prometheus/tsdb/chunkenc", []string{"internal/catalog/sensorthings", "internal/hub", "internal/store/local", "internal/store/storetest", "internal/query", "internal/catalog/offer", "internal/catalog/quality", "internal/store/remotewrite", "internal/backfill/file", "internal/correction", "internal/rules/ruletest", "internal/store/influx"}}, // storage.Queryable speaks of its iterators
	{"github.com/prometheus/prometheus/tsdb/chunks", []string{"internal/store/local", "internal/store/remotewrite", "internal/rules/ruletest"}}, // and of samples
	{"github.com/prometheus/prometheus/util", []string{"internal/store/local", "internal/query", "internal/catalog/offer", "internal/store/remotewrite", "internal/rules/ruletest", "internal/store/influx"}},
	{"github.com/prometheus/prometheus/web", []string{"nowhere: web/api/v1 costs 18 MB and 58 modules"}},
	{"github.com/santhosh-tekuri/jsonschema", []string{"internal/model"}},
	{"github.com/shirou/gopsutil", []string{"internal/edge/source/host"}},
	{"github.com/spf13/cobra", []string{"cmd/hub", "cmd/edge-agent", "internal/cli"}},
	{"github.com/zitadel/oidc", []string{"internal/hubtest/issuer"}}, // only tests import that folder
	{"go.etcd.io/bbolt", []string{"internal/ingest/desk"}},
	{"go.opentelemetry.io/collector/pdata", []string{"internal/codec"}},
	{"go.yaml.in/yaml", []string{"internal/config/strict"}},
	{"golang.org/x/crypto", []string{"internal/registry"}},
	{"golang.org/x/mod/sumdb", []string{"internal/audit"}},
	{"golang.org/x/net", []string{"internal/ingest/coap"}},
	{"golang.org/x/oauth2", []string{"internal/login"}},
	{"golang.org/x/sys", []string{"internal/edge/spool", "internal/edge/source/udp", "internal/edge/work", "internal/ingest/coap", "internal/store/disk", "internal/store/local", "internal/store/volume"}},
	{"golang.org/x/text", []string{"internal/model", "internal/road/dialect"}}, // jsonschema prints in a language; GBK
	{"golang.org/x/time", []string{"internal/authority", "internal/simulate"}},
	{"google.golang.org/protobuf", []string{"internal/codec", "internal/ingest/http"}},
	{"k8s.io", []string{"internal/schedule/facility/kubernetes"}},
	{"k8s.io/client-go/kubernetes", []string{"nowhere: every group of the API, for the two that are used"}},
	{"modernc.org/sqlite", []string{"internal/records"}},
}
