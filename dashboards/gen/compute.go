package main

// computeBoard shows what the scheduler has, promises and decides.
func computeBoard(zh bool) *board {
	b := newBoard(zh, "songhua-compute", text{"Songhua / Compute", "松花 / 算力调度"},
		text{"Capacity of facilities, what is leased of it, decisions, what waits, and the ledger. The page /compute of the hub has the workloads themselves.", "各设施的算力、租约、决策、等待的任务与账本；任务本身见枢纽的 /compute 页面。"}, "10s")
	b.choose("job", text{"Job", "作业"}, "label_values(hub_schedule_pool_capacity, job)", true)
	b.choose("facility", text{"Facility", "设施"}, "label_values(hub_schedule_pool_capacity, facility)", true)
	b.computeNumbers()
	b.computeCapacity()
	b.computeDecisions()
	b.computeLedger()
	return b
}

// capacityOf is the capacity of a resource: total, leased or free.
func capacityOf(by, resource, of string) string {
	return "sum by (" + by + ") (hub_schedule_pool_capacity{" + self + `, facility=~"$facility", resource=~"` + resource + `", of="` + of + `"})`
}

func (b *board) computeNumbers() {
	for _, r := range []struct {
		title, description text
		resource           string
	}{
		{text{"CPU leased", "CPU 已租"}, text{"Share of all CPUs that is leased.", "已租 CPU 的占比。"}, "cpu_milli"},
		{text{"Memory leased", "内存已租"}, text{"Share of all memory that is leased.", "已租内存的占比。"}, "memory_mib"},
		{text{"Accelerators leased", "加速卡已租"}, text{"Share of all accelerators that is leased.", "已租加速卡的占比。"}, "accelerator_milli"},
	} {
		b.stat(4, r.title, r.description, "percentunit", query{capacityOf("resource", r.resource, "leased") + " / " + capacityOf("resource", r.resource, "total"), ""})
	}
	b.stat(4, text{"In the queue", "排队"}, text{"Workloads that wait for capacity.", "等待容量的任务。"}, "short", query{`sum(hub_schedule_waiting_workloads{` + self + `, state="queued"})`, ""})
	b.stat(4, text{"Deferred", "已推迟"}, text{"Workloads that wait for a greener or cheaper hour.", "等待更绿或更便宜时段的任务。"}, "short", query{`sum(hub_schedule_waiting_workloads{` + self + `, state="deferred"})`, ""})
	b.stat(4, text{"Leases", "租约"}, text{"Leases that take capacity.", "占用容量的租约。"}, "short", query{"sum(hub_ledger_leases{" + self + "})", ""})
}

func (b *board) computeCapacity() {
	b.row(text{"Capacity", "容量"})
	for _, r := range []struct {
		title, description text
		resource, scale    string
		unit               string
	}{
		{text{"CPUs by facility", "各设施 CPU"}, text{"CPUs that there are, that are leased, and that new work may have.", "CPU 的总量、已租与可用。"}, "cpu_milli", " / 1000", "short"},
		{text{"Memory by facility", "各设施内存"}, text{"Memory that there is, that is leased, and that new work may have.", "内存的总量、已租与可用。"}, "memory_mib", " * 1048576", "bytes"},
		{text{"Accelerators by facility", "各设施加速卡"}, text{"Devices that there are, that are leased, and that new work may have.", "加速卡的总量、已租与可用。"}, "accelerator_milli", " / 1000", "short"},
	} {
		b.chart(8, r.title, r.description, r.unit,
			query{capacityOf("facility", r.resource, "total") + r.scale, b.say(text{"{{facility}} total", "{{facility}} 总量"})},
			query{capacityOf("facility", r.resource, "leased") + r.scale, b.say(text{"{{facility}} leased", "{{facility}} 已租"})},
			query{capacityOf("facility", r.resource, "free") + r.scale, b.say(text{"{{facility}} free", "{{facility}} 可用"})})
	}
	b.chart(24, text{"CPUs free ahead", "CPU 未来可用"}, text{"CPUs that will be free by plan, so long from now: leases end, and deferred work begins.", "按计划将来可用的 CPU：租约结束、推迟的任务开始之后。"}, "short",
		query{"sum by (facility, ahead) (hub_schedule_pool_free_forecast{" + self + `, facility=~"$facility", resource="cpu_milli"}) / 1000`, "{{facility}} +{{ahead}}"})
	b.chart(24, text{"Share leased", "已租占比"}, text{"Leased capacity over all, by facility and resource: where one resource is used up, the others are stranded.", "按设施与资源统计的已租占比；一种资源耗尽时，其余资源闲置。"}, "percentunit",
		query{capacityOf("facility, resource", "cpu_milli|memory_mib|accelerator_milli", "leased") + " / " + capacityOf("facility, resource", "cpu_milli|memory_mib|accelerator_milli", "total"), "{{facility}} {{resource}}"})
}

func (b *board) computeDecisions() {
	b.row(text{"Decisions", "决策"})
	stacked(b.chart(12, text{"Decisions by outcome", "各结果的决策数"}, text{"Where decisions sent workloads: reserved is promised capacity, queued waits for it, deferred waits for its hour.", "决策结果：reserved 为已承诺，queued 为排队，deferred 为推迟。"}, "cps",
		query{rate("to", "hub_schedule_decisions_total", self), "{{to}}"}))
	stacked(b.chart(12, text{"Waiting workloads", "等待的任务"}, text{"Workloads that wait, by state.", "按状态统计的等待任务。"}, "short",
		query{"sum by (state) (hub_schedule_waiting_workloads{" + self + "})", "{{state}}"}))
}

func (b *board) computeLedger() {
	b.row(text{"Ledger", "账本"})
	b.chart(8, text{"Commit of the ledger", "账本提交耗时"}, text{"Time of a commit, its fsync included; a promise is answered after it.", "一次提交（含 fsync）的耗时；承诺在其后应答。"}, "s",
		query{quantile("0.5", "hub_ledger_commit_seconds", self, ""), "p50"},
		query{quantile("0.99", "hub_ledger_commit_seconds", self, ""), "p99"})
	b.chart(8, text{"Proposals by result", "各结果的提案数"}, text{"What became of what was proposed to the ledger.", "提交给账本的提案的结果。"}, "cps",
		query{rate("result", "hub_ledger_proposals_total", self), "{{result}}"})
	b.chart(8, text{"What lives in the ledger", "账本中的存量"}, text{"Workloads and reservations that have not ended, and leases that take capacity.", "未结束的任务与预留，以及占用容量的租约。"}, "short",
		query{"sum(hub_ledger_live_workloads{" + self + "})", b.say(text{"workloads and reservations", "任务与预留"})},
		query{"sum(hub_ledger_leases{" + self + "})", b.say(text{"leases", "租约"})})
}
