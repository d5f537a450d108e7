// Package access decides who may do what, and says why not. What no row of its
// table allows is denied.
package access

import (
	"fmt"
	"slices"
	"strings"

	"github.com/songhua-io/hub/internal/telemetry"
)

// Role is what a caller is to the hub.
type Role string

// The roles.
const (
	Admin     Role = "admin"
	Operator  Role = "operator"
	Scheduler Role = "scheduler"
	Steward   Role = "steward" // of the catalogue
	Reader    Role = "reader"
	Gateway   Role = "gateway" // a program that sends for several devices
	Device    Role = "device"  // has a secret of the registry, never a token
	// Public is anybody outside: what was published, and by a token what was granted
	// to the name of it. Who shows no token has no more rights, and no name.
	Public Role = "public"
)

// Roles lists the roles in the order of the table's columns.
func Roles() []Role {
	return []Role{Admin, Operator, Scheduler, Steward, Reader, Gateway, Device, Public}
}

// Action is something that a caller may be allowed to do.
type Action string

// The actions.
const (
	ReadDevices     Action = "devices.read"
	WriteDevices    Action = "devices.write"
	ReadCommands    Action = "commands.read"
	SendCommands    Action = "commands.send"
	ReadTwins       Action = "twins.read"
	WriteTwins      Action = "twins.write"
	ReadSites       Action = "sites.read"
	WriteSites      Action = "sites.write"
	ReadModels      Action = "models.read"
	WriteModels     Action = "models.write"
	ReadCompute     Action = "compute.read"
	WriteFacilities Action = "facilities.write"
	WriteSignals    Action = "signals.write"
	SubmitWorkloads Action = "workloads.submit"
	ReadTelemetry   Action = "telemetry.read"
	SendTelemetry   Action = "telemetry.send"
	ReadCorrections Action = "corrections.read"
	CorrectSeries   Action = "corrections.make"
	ImportHistory   Action = "imports.run"
	ReadRoads       Action = "roads.read"
	ReadEvidence    Action = "evidence.read" // raw messages of the road
	ReadRejects     Action = "rejects.read"
	WriteRejects    Action = "rejects.write"
	ReadHub         Action = "hub.read"
	ReadTokens      Action = "tokens.read"
	WriteTokens     Action = "tokens.write"
	ReadSessions    Action = "sessions.read"
	EndSessions     Action = "sessions.end"
	ReadAudit       Action = "audit.read"
	ReadAlerts      Action = "alerts.read"
	SilenceAlerts   Action = "alerts.silence"
	BackUp          Action = "hub.backup" // all that the hub keeps

	ReadDatasets     Action = "datasets.read"
	WriteDatasets    Action = "datasets.write"
	MakeReleases     Action = "releases.make"
	ApplyGrants      Action = "grants.apply"
	DecideGrants     Action = "grants.decide"
	HandleObjections Action = "objections.handle"
	ReadOutlets      Action = "outlets.read"
	RunOutlets       Action = "outlets.run"
)

// What the record of changes calls people's coming and going. They are no
// rights: everybody may try to come in, and leave.
const (
	SignIn  Action = "sessions.sign_in"
	Refuse  Action = "sessions.refuse"
	SignOut Action = "sessions.sign_out"
)

// What the record of changes calls what becomes of releases by itself, and that
// somebody read one by a grant.
const (
	ReadReleases   Action = "releases.read"
	SealReleases   Action = "releases.seal"
	RemoveReleases Action = "releases.remove"
)

// rights is the whole of who may do what.
var rights = [...]struct {
	action Action
	roles  string
}{
	//               admin  operator  scheduler  steward  reader  gateway  device  public
	{ReadDevices, "  yes    yes       yes        yes      yes     no       no      no"},
	{WriteDevices, " yes    yes       no         no       no      no       no      no"},
	{ReadCommands, " yes    yes       no         no       no      no       no      no"},
	{SendCommands, " yes    yes       no         no       no      no       no      no"},
	{ReadTwins, "    yes    yes       no         no       no      no       no      no"},
	{WriteTwins, "   yes    yes       no         no       no      no       no      no"},
	{ReadSites, "    yes    yes       yes        yes      yes     no       no      no"},
	{WriteSites, "   yes    yes       no         no       no      no       no      no"},
	{ReadModels, "   yes    yes       yes        yes      yes     no       no      no"},
	{WriteModels, "  yes    yes       no         no       no      no       no      no"},
	{ReadCompute, "  yes    yes       yes        yes      yes     no       no      no"},
	{WriteFacilities, "yes  yes       no         no       no      no       no      no"},
	{WriteSignals, " yes    yes       yes        no       no      no       no      no"},
	{SubmitWorkloads, "yes  yes       yes        no       no      no       no      no"},
	{ReadTelemetry, "yes    yes       yes        yes      yes     no       no      no"},
	{SendTelemetry, "no     no        no         no       no      yes      yes     no"},
	{ReadCorrections, "yes  yes       yes        yes      yes     no       no      no"},
	{CorrectSeries, "yes    yes       no         no       no      no       no      no"},
	{ImportHistory, "yes    yes       no         no       no      no       no      no"},
	{ReadRoads, "    yes    yes       yes        yes      yes     no       no      no"},
	{ReadEvidence, " yes    yes       no         no       no      no       no      no"},
	{ReadRejects, "  yes    yes       no         no       no      no       no      no"},
	{WriteRejects, " yes    yes       no         no       no      no       no      no"},
	{ReadHub, "      yes    yes       yes        yes      yes     no       no      no"},
	{ReadTokens, "   yes    no        no         no       no      no       no      no"},
	{WriteTokens, "  yes    no        no         no       no      no       no      no"},
	{ReadAlerts, "   yes    yes       yes        yes      yes     no       no      no"},
	{SilenceAlerts, "yes    yes       no         no       no      no       no      no"},
	{ReadSessions, "yes    no        no         no       no      no       no      no"},
	{EndSessions, " yes    no        no         no       no      no       no      no"},
	{ReadAudit, "    yes    no        no         no       no      no       no      no"},
	{BackUp, "       yes    no        no         no       no      no       no      no"},
	{ReadDatasets, " yes    yes       yes        yes      yes     no       no      yes"},
	{WriteDatasets, "yes    no        no         yes      no      no       no      no"},
	{ApplyGrants, "  yes    yes       yes        yes      yes     no       no      yes"},
	{DecideGrants, " yes    no        no         yes      no      no       no      no"},
	{HandleObjections, "yes no        no         yes      no      no       no      no"},
	{ReadOutlets, "  yes    yes       no         yes      no      no       no      no"},
	{RunOutlets, "   yes    no        no         yes      no      no       no      no"},
	{MakeReleases, " yes    no        no         yes      no      no       no      no"},
}

// Actions lists every action.
func Actions() []Action {
	all := make([]Action, len(rights))
	for i, r := range rights {
		all[i] = r.action
	}
	return all
}

// May reports whether the table gives an action to a role.
func May(role Role, action Action) bool {
	column := slices.Index(Roles(), role)
	for _, r := range rights {
		if r.action == action && column >= 0 {
			return strings.Fields(r.roles)[column] == "yes"
		}
	}
	return false
}

// holders returns the roles that have an action, for messages.
func holders(action Action) string {
	var all []string
	for _, role := range Roles() {
		if May(role, action) {
			all = append(all, string(role))
		}
	}
	return strings.Join(all, ", ")
}

// Staff reports whether a role reads telemetry by its own right, and not only
// what was published or granted.
func Staff(role Role) bool { return May(role, ReadTelemetry) }

// Caller is who asks. The zero value is a stranger.
type Caller struct {
	Name string
	Role Role
	// Region is the prefix of division codes that the caller is narrowed to;
	// empty means all.
	Region string
	// Grade is the highest grade of data that the caller may see. Art. 74(3)
	Grade telemetry.Grade
	// Address is where the request came from.
	Address string
	// Session is the id of the session that the caller showed by cookie; empty for
	// a caller that showed a token.
	Session string
	// Refused says why what the caller showed was not taken; empty when it
	// showed nothing.
	Refused string
}

// Known reports whether the caller has shown who it is.
func (c Caller) Known() bool { return c.Role != "" }

// Anywhere stands for a region in a question that is not about one object:
// whoever lists is shown what lies in the own region.
const Anywhere = "*"

// Decision is an answer with its reason.
type Decision struct {
	Allowed bool
	// ZH and EN say why not, and the way out; empty when allowed.
	ZH, EN string
}

// Allow decides whether a caller may do something to an object of a region. An
// object without a region lies outside of every narrowed caller's.
func Allow(c Caller, action Action, region string) Decision {
	switch {
	case !c.Known():
		return Decision{
			ZH: "未出示有效令牌。请以 `Authorization: Bearer <令牌>` 重试；管理员令牌在数据目录的 admin.token 文件中。",
			EN: "No valid token was shown. Try again with `Authorization: Bearer <token>`; the admin's lies in admin.token of the data directory.",
		}
	case !May(c.Role, action):
		return Decision{
			ZH: fmt.Sprintf("角色 %s 无权执行 %s；需要以下角色之一：%s。", c.Role, action, holders(action)),
			EN: fmt.Sprintf("Role %s may not do %s; it takes one of: %s.", c.Role, action, holders(action)),
		}
	case region != Anywhere && !strings.HasPrefix(region, c.Region):
		return Decision{
			ZH: fmt.Sprintf("%s 仅限区划 %s，而该对象属于区划 %q。", c.Name, c.Region, region),
			EN: fmt.Sprintf("%s is for region %s only; the object lies in region %q.", c.Name, c.Region, region),
		}
	}
	return Decision{Allowed: true}
}

// Sees reports whether a caller may know of a device: one of its region, whose
// data have no higher grade than the caller may see. To whom it is not visible
// it is as if it were not there.
func (c Caller) Sees(d *telemetry.Device) bool {
	return strings.HasPrefix(d.Region, c.Region) && d.EffectiveGrade() <= c.Grade
}

// AllowGrade decides whether a caller may decide about data of a grade.
func AllowGrade(c Caller, g telemetry.Grade) Decision {
	if g <= c.Grade {
		return Decision{Allowed: true}
	}
	return Decision{
		ZH: fmt.Sprintf("令牌 %s 至多可见 %s 级数据，而此处涉及 %s 级；请使用以 `--grade %s` 建立的令牌。", c.Name, c.Grade, g, g),
		EN: fmt.Sprintf("Token %s is for data of grade %s at most, and this is about grade %s; use a token made with `--grade %s`.", c.Name, c.Grade, g, g),
	}
}
