package api

import (
	"context"
	"net/http"
	"reflect"
	"time"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/catalog/register"
	"github.com/songhua-io/hub/internal/model"
	"github.com/songhua-io/hub/internal/schedule"
)

// list is the whole HTTP surface: what is not here is not served. Paths of
// other packages come last.
func (a *API) list() {
	const get, post, put, patch, del = http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete

	on(a, get, "/api/v1/devices", access.ReadDevices, "列出设备", "List devices", a.listDevices)
	on(a, post, "/api/v1/devices", access.WriteDevices, "登记设备；密钥只显示一次", "Register a device; its secret is shown once", a.createDevice, status(http.StatusCreated))
	on(a, post, "/api/v1/devices:batch", access.WriteDevices, "一次登记至多一万台设备，全部成功或全部不登记", "Register up to 10,000 devices, all or none", a.createDevices, status(http.StatusCreated), large)
	on(a, get, "/api/v1/devices/{id}", access.ReadDevices, "查看设备及其在线状态", "Show a device and whether it is there", a.getDevice)
	on(a, patch, "/api/v1/devices/{id}", access.WriteDevices, "修改设备（RFC 7396：未给出的字段不变，null 清除）", "Change a device (RFC 7396: what is absent stays, null clears)", a.patchDevice)
	on(a, del, "/api/v1/devices/{id}", access.WriteDevices, "删除设备；其历史数据保留", "Remove a device; its series stay", a.removeDevice, status(http.StatusNoContent))
	on(a, post, "/api/v1/devices/{id}/disable", access.WriteDevices, "停用设备并立即断开其连接", "Disable a device and end its connections at once", a.disableDevice)
	on(a, post, "/api/v1/devices/{id}/enable", access.WriteDevices, "重新启用设备", "Enable a device again", a.enableDevice)
	on(a, post, "/api/v1/devices/{id}/rotate", access.WriteDevices, "更换密钥；旧密钥立即失效", "Give a device a new secret; the old one stops to work at once", a.rotateDevice)
	on(a, get, "/api/v1/devices/{id}/presence", access.ReadDevices, "设备在线状态的历史", "History of a device's presence", a.devicePresence)
	on(a, post, "/api/v1/devices/{id}/certificate", access.WriteDevices, "凭证书签名请求为设备签发证书", "Issue a certificate to a device, from a signing request", a.issueCertificate)

	on(a, post, "/api/v1/devices/{id}/replace", access.WriteDevices, "以新硬件接替设备：标识、历史不变，旧凭据立即失效", "Put new hardware in a device's place: id and history stay, old credentials stop to work at once", a.replaceDevice)

	on(a, get, "/api/v1/enrolments", access.WriteDevices, "列出注册令牌", "List enrolment tokens", a.listEnrolments)
	on(a, post, "/api/v1/enrolments", access.WriteDevices, "新建注册令牌；内容只显示一次", "Make an enrolment token; it is shown once", a.createEnrolment, status(http.StatusCreated))
	on(a, del, "/api/v1/enrolments/{name}", access.WriteDevices, "吊销注册令牌；已注册的设备不受影响", "Revoke an enrolment token; devices that enrolled stay", a.revokeEnrolment, status(http.StatusNoContent))
	open(a, post, "/api/v1/enroll", "设备凭令牌注册并取得证书", "A device registers itself with a token and gets a certificate", a.enrol, status(http.StatusCreated))
	open(a, post, "/api/v1/renew", "设备以现有证书或密钥换取新证书；旧证书到期前仍有效", "A device gets a new certificate for its present one or its secret; the old one stays valid until its end", a.renew)
	on(a, get, "/api/v1/knocks", access.WriteDevices, "列出敲门的未知设备", "List unknown devices that asked to be let in", a.listKnocks)

	on(a, post, "/api/v1/freezes", access.BackUp, "冻结枢纽目录的一个时刻，供本机上的 `hub backup` 复制", "Freeze a moment of the hub's directories, for `hub backup` on its machine to copy", a.freeze, status(http.StatusCreated))
	on(a, del, "/api/v1/freezes/{id}", access.BackUp, "解除冻结并释放空间", "Remove a freeze and free its space", a.thaw, status(http.StatusNoContent))

	on(a, get, "/api/v1/authority", access.ReadHub, "枢纽的证书机构与各证书的有效期", "The hub's authority, and when its certificates end", a.showAuthority)

	on(a, post, "/api/v1/devices/{id}/commands", access.SendCommands, "向设备下发命令", "Ask a device for something", a.issueCommand, status(http.StatusCreated))
	on(a, get, "/api/v1/commands", access.ReadCommands, "列出命令及其状态", "List commands and how far they are", a.listCommands)
	on(a, get, "/api/v1/commands/{id}", access.ReadCommands, "查看命令；可等待其结束", "Show a command, and wait for its end if asked to", a.getCommand)
	on(a, post, "/api/v1/commands/{id}/cancel", access.SendCommands, "撤回尚未结束的命令", "Take back a command that has not ended", a.cancelCommand)
	on(a, post, "/api/v1/rollouts", access.SendCommands, "向一组设备下发命令：先试点，再按速率推进，失败过多即停", "Ask a group of devices: a few first, then at a rate, until too many fail", a.startRollout, status(http.StatusCreated), large)
	on(a, get, "/api/v1/rollouts", access.ReadCommands, "列出批量命令", "List rollouts", a.listRollouts)
	on(a, get, "/api/v1/rollouts/{id}", access.ReadCommands, "查看批量命令的进展", "Show how far a rollout is", a.getRollout)
	on(a, post, "/api/v1/rollouts/{id}/pause", access.SendCommands, "暂停批量命令", "Hold a rollout back", a.pauseRollout)
	on(a, post, "/api/v1/rollouts/{id}/resume", access.SendCommands, "继续批量命令", "Let a rollout go on", a.resumeRollout)
	on(a, post, "/api/v1/rollouts/{id}/stop", access.SendCommands, "停止批量命令并撤回未结束的命令", "End a rollout and take back what has not ended", a.stopRollout)

	on(a, get, "/api/v1/devices/{id}/twin", access.ReadTwins, "查看设备的期望配置与上报配置及其差异", "Show the configuration that a device is to have, the one it has, and where they differ", a.getTwin)
	on(a, put, "/api/v1/devices/{id}/twin/wanted", access.WriteTwins, "设定设备的期望配置", "Set the configuration that a device is to have", a.setWanted)
	on(a, patch, "/api/v1/devices/{id}/twin/wanted", access.WriteTwins, "修改期望配置（RFC 7396）", "Change it (RFC 7396)", a.patchWanted)
	on(a, del, "/api/v1/devices/{id}/twin/wanted", access.WriteTwins, "不再期望任何配置，设备以自身配置为准", "Want nothing of it any more; the device goes by its own", a.clearWanted)
	on(a, get, "/api/v1/devices/{id}/twin/history", access.ReadTwins, "列出期望配置的历次版本", "List the versions of what it was to have", a.listWanted)
	on(a, get, "/api/v1/twins", access.ReadTwins, "列出设备配置的状态，可筛选偏离者", "List how devices' configurations stand", a.listTwins)

	on(a, get, "/api/v1/corrections", access.ReadCorrections, "列出对已存样本的更正，新的在前", "List corrections of stored samples, the newest first", a.listCorrections)
	on(a, post, "/api/v1/corrections", access.CorrectSeries, "更正已存的样本：原值保留，查询自此显示更正后的值", "Correct stored samples: the raw values stay, queries show the corrected ones from now on", a.addCorrection, status(http.StatusCreated))

	on(a, get, "/api/v1/imports", access.ImportHistory, "列出历史数据的导入及其进度", "List imports of history and how far they are", a.listImports)
	on(a, get, "/api/v1/imports/{id}", access.ImportHistory, "查看导入", "Show an import", a.getImport)
	on(a, put, "/api/v1/imports/{id}", access.ImportHistory, "开始导入，或取得已导入的位置以便续传", "Begin an import, or learn where to go on with one", a.beginImport)

	on(a, get, "/api/v1/sites", access.ReadSites, "列出站点", "List sites", a.listSites)
	on(a, get, "/api/v1/sites/{id}", access.ReadSites, "查看站点", "Show a site", a.getSite)
	on(a, put, "/api/v1/sites/{id}", access.WriteSites, "新建或替换站点", "Create or replace a site", a.putSite)
	on(a, del, "/api/v1/sites/{id}", access.WriteSites, "删除站点", "Remove a site", a.removeSite, status(http.StatusNoContent))
	on(a, get, "/api/v1/regions", access.ReadSites, "列出使用中的行政区划代码", "List the division codes in use", a.listRegions)

	on(a, get, "/api/v1/models", access.ReadModels, "列出设备型号", "List device models", a.listModels)
	on(a, get, "/api/v1/models/{id}", access.ReadModels, "查看设备型号（编号中的 / 写作 %2F）", "Show a device model (a / of its id is written %2F)", a.getModel)
	on(a, put, "/api/v1/models/{id}", access.WriteModels, "新建或替换设备型号", "Create or replace a device model", a.putModel, a.described(reflect.TypeFor[model.Document]()))
	on(a, del, "/api/v1/models/{id}", access.WriteModels, "删除没有设备使用的型号", "Remove a model that no device names", a.removeModel, status(http.StatusNoContent))

	on(a, get, "/api/v1/facilities", access.ReadCompute, "列出算力设施", "List facilities with compute", a.listFacilities)
	on(a, get, "/api/v1/facilities/{id}", access.ReadCompute, "查看设施", "Show a facility", a.getFacility)
	on(a, put, "/api/v1/facilities/{id}", access.WriteFacilities, "申报或更新设施", "Declare a facility, or declare it anew", a.putFacility)
	on(a, del, "/api/v1/facilities/{id}", access.WriteFacilities, "删除没有资源池的设施", "Forget a facility without pools", a.removeFacility, status(http.StatusNoContent))
	on(a, post, "/api/v1/facilities/{id}/ready", access.WriteFacilities, "设施恢复接收新任务", "Let new work go to a facility again", a.become(schedule.Ready))
	on(a, post, "/api/v1/facilities/{id}/cordon", access.WriteFacilities, "设施不再接收新任务，已运行的继续", "Let no new work go to a facility; what runs goes on", a.become(schedule.Cordoned))
	on(a, post, "/api/v1/facilities/{id}/drain", access.WriteFacilities, "设施不再接收新任务，可迁移的迁走", "Let no new work go to a facility, and move what can be moved", a.become(schedule.Draining))
	on(a, post, "/api/v1/facilities/{id}/lose", access.WriteFacilities, "设施失联：租约被隔离，任务重新安排", "Say that a facility is lost: its leases are fenced, its work is planned anew", a.become(schedule.Lost))
	on(a, get, "/api/v1/pools", access.ReadCompute, "列出资源池及其占用", "List pools and what is taken of them", a.listPools)
	on(a, get, "/api/v1/pools/{id}", access.ReadCompute, "查看资源池", "Show a pool", a.getPool)
	on(a, put, "/api/v1/pools/{id}", access.WriteFacilities, "申报或更新资源池；已租出的不变", "Declare a pool, or declare it anew; what is leased stays", a.putPool, large)
	on(a, del, "/api/v1/pools/{id}", access.WriteFacilities, "删除没有租约的资源池", "Forget a pool of which nothing is leased", a.removePool, status(http.StatusNoContent))
	on(a, get, "/api/v1/capacity", access.ReadCompute, "各资源池的总量、已租与空闲", "What pools have, what is leased and what is free", a.listCapacity)
	on(a, get, "/api/v1/capacity/forecast", access.ReadCompute, "各资源池将来的空闲：按租约与推迟任务的计划，并附预测的分位数", "What of pools will be free: by plan of leases and deferred work, with the quantiles of a forecast where there is one", a.capacityForecast)
	on(a, get, "/api/v1/network", access.ReadCompute, "查看设施与区域之间的时延、带宽、费用与能耗", "Show how far facilities and regions lie from one another, and what moving data costs", a.getNetwork)
	on(a, put, "/api/v1/network", access.WriteFacilities, "申报网络；立即用于决策", "Declare the network; the next decision goes by it", a.putNetwork, large)
	on(a, get, "/api/v1/tenants", access.ReadCompute, "列出租户", "List tenants", a.listTenants)
	on(a, get, "/api/v1/tenants/{id}", access.ReadCompute, "查看租户", "Show a tenant", a.getTenant)
	on(a, put, "/api/v1/tenants/{id}", access.WriteFacilities, "新建或替换租户：权重与每月的资金、碳预算", "Create or replace a tenant: its weight, and its budget of money and carbon in a month", a.putTenant)
	on(a, del, "/api/v1/tenants/{id}", access.WriteFacilities, "删除租户；其任务保留", "Remove a tenant; its workloads stay", a.removeTenant, status(http.StatusNoContent))
	on(a, get, "/api/v1/signals", access.ReadCompute, "列出碳强度、电价、PUE 与空闲容量的预测", "List forecasts of carbon, price, PUE and free capacity", a.listSignals)
	on(a, get, "/api/v1/signals/{kind}/{zone}", access.ReadCompute, "查看预测", "Show a forecast", a.getSignal)
	on(a, put, "/api/v1/signals/{kind}/{zone}", access.WriteSignals, "提交预测；按旧预测推迟的任务重新决定", "Send a forecast; what was deferred by an older one is decided anew", a.putSignal, large)
	on(a, post, "/api/v1/workloads", access.SubmitWorkloads, "提交任务：立即承诺资源，或说明为何等待", "Submit a workload: capacity is promised at once, or the answer says why it waits", a.submitWorkload, status(http.StatusCreated), keyed, plainly(a.submitDirectly))
	on(a, post, "/api/v1/workloads:batch", access.SubmitWorkloads, "一次提交至多一千个任务，逐个决定", "Submit up to 1,000 workloads, each decided by itself", a.submitWorkloads, large, keyed, plainly(a.submitAllDirectly))
	on(a, get, "/api/v1/workloads", access.ReadCompute, "列出任务，新的在前", "List workloads, the newest first", a.listWorkloads)
	on(a, get, "/api/v1/workloads/{id}", access.ReadCompute, "查看任务", "Show a workload", a.getWorkload)
	on(a, del, "/api/v1/workloads/{id}", access.SubmitWorkloads, "取消任务", "Cancel a workload", a.cancelWorkload, status(http.StatusNoContent))
	on(a, get, "/api/v1/workloads/{id}/explanation", access.ReadCompute, "任务为何在此运行，或为何等待、怎样才能运行", "Say why a workload runs where it does, or why it waits and what would help", a.explainWorkload)
	on(a, get, "/api/v1/workloads/{id}/events", access.ReadCompute, "任务及其租约的全部变化，按序号", "List all that happened to a workload and its leases, by sequence number", a.listWorkloadEvents)
	on(a, post, "/api/v1/workloads/{id}/progress", access.SubmitWorkloads, "自行运行任务者上报进展", "Who runs a workload without an engine of the hub says how far it is", a.reportProgress)
	on(a, post, "/api/v1/reservations", access.SubmitWorkloads, "为自带队列的调度器预留资源", "Reserve capacity for a scheduler that keeps its own queue", a.reserve, status(http.StatusCreated), keyed)
	on(a, post, "/api/v1/reservations:renew", access.SubmitWorkloads, "续租", "Let a lease end later", a.onLease(minTTL, a.Scheduler.Renew))
	on(a, post, "/api/v1/reservations:commit", access.SubmitWorkloads, "确认使用预留的资源", "Say that a reservation is used", a.onLease(0, a.Scheduler.Commit))
	on(a, post, "/api/v1/reservations:release", access.SubmitWorkloads, "归还预留的资源", "Give a reservation back", a.onLease(0, func(ctx context.Context, token uint64, _ time.Duration) error { return a.Scheduler.Release(ctx, token) }))

	on(a, post, "/api/v1/simulate", access.SubmitWorkloads, "推演：增减资源、换一条碳或电价曲线、更多任务会怎样", "What would become of what waits with other capacity, other curves or more work", a.simulate, large)
	on(a, get, "/api/v1/queues", access.ReadCompute, "列出队列及其份额", "List queues and their shares", a.listQueues)
	on(a, get, "/api/v1/queues/{id}", access.ReadCompute, "查看队列", "Show a queue", a.getQueue)
	on(a, put, "/api/v1/queues/{id}", access.WriteFacilities, "新建或替换队列", "Create or replace a queue", a.putQueue)
	on(a, del, "/api/v1/queues/{id}", access.WriteFacilities, "删除队列", "Remove a queue", a.removeQueue, status(http.StatusNoContent), status(http.StatusNoContent))
	a.beside(Beside{Pattern: "GET /api/v1/watch", ZH: "算力变化的事件流（SSE），可续传", EN: "Events of compute as they happen (server-sent events), resumable", Action: access.ReadCompute, Handler: http.HandlerFunc(a.watch)})

	on(a, get, "/emissions/bylocation", access.ReadCompute, "某电网区的碳强度（与 Carbon Aware SDK 兼容）", "Carbon of a grid zone, as the Carbon Aware SDK answers it", a.emissions)
	on(a, get, "/emissions/bylocations/best", access.ReadCompute, "各电网区中碳强度最低的时段", "The hours of least carbon among grid zones", a.bestEmissions)
	on(a, get, "/emissions/forecasts/current", access.ReadCompute, "碳强度预测及最佳时段", "Forecasts of carbon with their best window", a.emissionForecasts)
	a.beside(Beside{Pattern: "POST /k8s/extender/filter", ZH: "kube-scheduler 扩展：哪些节点尚有未租出的资源", EN: "kube-scheduler extender: which nodes have what a pod asks for, besides what is leased", Action: access.ReadCompute, Handler: http.HandlerFunc(a.extenderFilter)})
	a.beside(Beside{Pattern: "POST /k8s/extender/prioritize", ZH: "kube-scheduler 扩展：节点打分", EN: "kube-scheduler extender: how well a pod fits each node", Action: access.ReadCompute, Handler: http.HandlerFunc(a.extenderPrioritize)})

	on(a, get, "/api/v1/roads/units", access.ReadRoads, "列出路侧单元及其状态、消息速率与检查结果", "List roadside units: whether they are there, their rates and what checks find", a.listRoadUnits)
	on(a, get, "/api/v1/roads/units/{id}", access.ReadRoads, "查看路侧单元", "Show a roadside unit", a.getRoadUnit)
	on(a, get, "/api/v1/roads/units/{id}/conformance", access.ReadRoads, "路侧单元的消息哪里不符合标准", "Say where messages of a unit are not as the standard has them", a.getConformance)
	on(a, get, "/api/v1/roads/units/{id}/evidence", access.ReadEvidence, "检查所留的原始消息（数分钟内）；读取会被记录", "Show raw messages that checks kept for minutes; who reads them is on record", a.getEvidence)
	on(a, get, "/api/v1/roads/intersections", access.ReadRoads, "列出路口的信号状态", "List the signals of intersections", a.listIntersections)
	on(a, get, "/api/v1/roads/intersections/{node}", access.ReadRoads, "查看路口的信号及近几分钟的变化", "Show the signals of an intersection, and how they changed in the last minutes", a.getIntersection)
	on(a, get, "/api/v1/roads/links", access.ReadRoads, "列出路段上一分钟的流量与车速；可取 GeoJSON", "List links with flow and speed of the last minute; GeoJSON if asked for", a.listLinks)
	on(a, get, "/api/v1/roads/events", access.ReadRoads, "列出道路事件，新的在前", "List events of the road, the newest first", a.listRoadEvents)

	on(a, get, "/api/v1/datasets", access.ReadDatasets, "列出公共数据目录的数据集", "List the datasets of the public catalogue", a.listDatasets)
	on(a, post, "/api/v1/datasets:draft", access.WriteDatasets, "按所测内容拟写数据集草稿，不保存", "Write a draft of a dataset from what is measured, without keeping it", a.draftDataset)
	on(a, get, "/api/v1/datasets/{id}", access.ReadDatasets, "查看数据集", "Show a dataset", a.getDataset)
	on(a, put, "/api/v1/datasets/{id}", access.WriteDatasets, "新建数据集，或拟写其变更；已发布的在变更发布前不变", "Make a dataset, or write what it is to become; what is published stays until that is published", a.putDataset, a.described(reflect.TypeFor[register.Document]()))
	on(a, post, "/api/v1/datasets/{id}/submit", access.WriteDatasets, "提交草稿", "Hand a draft in", a.moveDataset((*register.Register).Submit))
	on(a, post, "/api/v1/datasets/{id}/return", access.WriteDatasets, "退回所提交的，并说明原因", "Give back what was submitted, with the reason", a.moveBecause((*register.Register).GiveBack))
	on(a, post, "/api/v1/datasets/{id}/publish", access.WriteDatasets, "发布所提交的，或恢复暂停的", "Publish what was submitted, or open again what was suspended", a.moveDataset((*register.Register).Publish))
	on(a, post, "/api/v1/datasets/{id}/suspend", access.WriteDatasets, "立即暂停提供", "Take a dataset out of everybody's reach, at once", a.moveBecause((*register.Register).Suspend))
	on(a, post, "/api/v1/datasets/{id}/withdraw", access.WriteDatasets, "撤销数据集；标识与代码不再使用", "Take a dataset away for good; its id and code are never given again", a.moveBecause((*register.Register).Withdraw))
	on(a, post, "/api/v1/datasets/{id}/sign", access.WriteDatasets, "由具名人员签署定级；定级提高立即生效并暂停提供", "Write down who answers for the grade; one that is raised counts at once and suspends the dataset", a.signDataset)
	on(a, get, "/api/v1/datasets/{id}/versions", access.WriteDatasets, "数据集的历次版本：何人何时由何改为何", "The versions of a dataset: who, when, from what to what", a.listVersions)
	on(a, get, "/api/v1/datasets/{id}/quality", access.ReadDatasets, "数据集的质量：发现的问题，与逐日的测量，新的在前", "Say how good a dataset is: what is found of it, and what was measured day by day, the newest first", a.datasetQuality)
	on(a, get, "/api/v1/datasets/{id}/budget", access.ReadDatasets, "数据集的隐私预算：噪声逐日支出的 ε 与余额，新的在前", "Say how the privacy budget of a dataset stands: what noise has spent of each day, and what is left, the newest first", a.datasetBudget)
	on(a, get, "/api/v1/datasets/{id}/lineage", access.ReadTelemetry, "数据集来自哪些设备的哪些序列", "Say of which series of which devices a dataset is made", a.datasetLineage)

	on(a, get, "/api/v1/releases", access.ReadDatasets, "列出数据集的发布版本", "List the releases of datasets", a.listReleases)
	on(a, get, "/api/v1/releases/{dataset}/{version}", access.ReadDatasets, "查看发布版本的清单：文件、散列、配方与差异", "Show the manifest of a release: files, hashes, recipe and what is different", a.getRelease)
	on(a, get, "/api/v1/releases/{dataset}/{version}/diff", access.ReadDatasets, "比较两个发布版本，或授权所及的部分", "Compare two releases, or the parts of them that a grant gives", a.compareReleases)
	on(a, post, "/api/v1/releases", access.MakeReleases, "立即制作发布版本", "Make a release now", a.makeRelease, status(http.StatusCreated))
	on(a, post, "/api/v1/releases/{dataset}/{version}/verify", access.MakeReleases, "重新制作并逐字节核对发布版本的文件", "Make the files of a release again, and compare them byte by byte", a.verifyRelease)
	a.beside(Beside{Pattern: "GET /catalog/dataset/{id}/release/{version}/{name}", ZH: "下载发布版本的文件；可按范围续传", EN: "Download a file of a release, whole or by ranges", Handler: http.HandlerFunc(a.download)})

	on(a, get, "/api/v1/grants", access.ApplyGrants, "列出使用申请与授权；申请人只见自己的", "List applications and grants; applicants see their own", a.listGrants)
	on(a, post, "/api/v1/grants", access.ApplyGrants, "申请使用数据集；无条件的即时授权", "Apply for a dataset; what is unconditional is granted at once", a.applyGrant, status(http.StatusCreated))
	on(a, get, "/api/v1/grants/{id}", access.ApplyGrants, "查看申请或授权", "Show an application or a grant", a.getGrant)
	on(a, post, "/api/v1/grants/{id}/check", access.DecideGrants, "形式审查：受理，或说明所缺并退回", "Check its form: take it, or return it with what is missing", a.checkGrant)
	on(a, post, "/api/v1/grants/{id}/review", access.DecideGrants, "写下审核意见", "Write down a reviewer's opinion", a.reviewGrant)
	on(a, post, "/api/v1/grants/{id}/decide", access.DecideGrants, "作出决定；不予授权须写明理由与法律依据", "Decide; a refusal needs its reason and its law", a.decideGrant)
	on(a, post, "/api/v1/grants/{id}/revoke", access.DecideGrants, "撤销授权，立即中断其读取", "End a grant, and what is read by it, at once", a.revokeGrant)

	open(a, post, "/api/v1/objections", "对公共数据提出异议，或就本人个人数据提出请求；查询凭据只显示一次", "Object to public data, or ask about the own personal data; the secret of the ticket is shown once", a.fileObjection, status(http.StatusCreated))
	open(a, post, "/api/v1/objections/{id}/status", "凭据查询进展", "See how far a ticket is, by its secret", a.objectionStatus)
	open(a, post, "/api/v1/objections/{id}/messages", "凭据补充说明", "Add to a ticket, by its secret", a.addToObjection)
	on(a, get, "/api/v1/objections", access.HandleObjections, "列出异议与个人请求", "List objections and requests of persons", a.listObjections)
	on(a, get, "/api/v1/objections/{id}", access.HandleObjections, "查看异议及往来", "Show a ticket with its thread", a.getObjection)
	on(a, post, "/api/v1/objections/{id}/answer", access.HandleObjections, "答复", "Answer a ticket", a.answerObjection)
	on(a, post, "/api/v1/objections/{id}/close", access.HandleObjections, "办结；不予更正须写明法律依据", "Close a ticket with what came of it; a rejection needs its law", a.closeObjection)

	on(a, get, "/api/v1/outlets", access.ReadOutlets, "列出目录的对外出口及其状态", "List the outlets of the catalogue and how they stand", a.listOutlets)
	on(a, get, "/api/v1/outlets/{id}", access.ReadOutlets, "查看出口", "Show an outlet", a.getOutlet)
	on(a, get, "/api/v1/outlets/{id}/datasets", access.ReadOutlets, "出口处各数据集的状态、回执与返回代码", "List the datasets of an outlet: their state, receipts and the codes it gave", a.listOutletEntries)
	on(a, get, "/api/v1/outlets/{id}/export", access.ReadOutlets, "按出口的编目模板导出全部目录", "Export the whole catalogue by the template of an outlet", a.exportOutlet)
	on(a, post, "/api/v1/outlets/{id}/retry", access.RunOutlets, "重新发送被拒的数据集", "Send anew what an outlet refused", a.retryOutlet)
	on(a, post, "/api/v1/outlets/{id}/reconcile", access.RunOutlets, "与出口现有内容核对，不一致者重新发送", "Hold what an outlet has against what it should have, and send anew what differs", a.reconcileOutlet)

	on(a, get, "/api/v1/rules", access.ReadAlerts, "列出规则组及其评估情况", "List the groups of rules and how their evaluation goes", a.listRules)
	on(a, get, "/api/v1/alerts", access.ReadAlerts, "列出当前的告警", "List the alerts of now", a.listAlerts)
	on(a, get, "/api/v1/alerts/history", access.ReadAlerts, "告警的历史：何时发生、何时得知", "The history of alerts: when each happened, and when it was known", a.alertHistory)
	on(a, get, "/api/v1/silences", access.ReadAlerts, "列出静默", "List silences", a.listSilences)
	on(a, post, "/api/v1/silences", access.SilenceAlerts, "静默一些告警：须写明原因与截止时间", "Keep alerts quiet for a while, with the reason", a.makeSilence, status(http.StatusCreated))
	on(a, del, "/api/v1/silences/{id}", access.SilenceAlerts, "立即结束静默", "End a silence now", a.endSilence, status(http.StatusNoContent))

	on(a, get, "/api/v1/rejects", access.ReadRejects, "列出未入库的消息及原因", "List what was not stored, and why", a.listRejects)
	on(a, get, "/api/v1/rejects/{id}", access.ReadRejects, "查看一条未入库的消息及其内容", "Show a rejected message with what it holds", a.getReject)
	on(a, post, "/api/v1/rejects:replay", access.WriteRejects, "重新处理未入库的消息", "Try rejected messages again", a.replayRejects)
	on(a, post, "/api/v1/rejects:drop", access.WriteRejects, "丢弃未入库的消息", "Drop rejected messages", a.dropRejects)

	on(a, get, "/api/v1/tokens", access.ReadTokens, "列出令牌", "List tokens", a.listTokens)
	on(a, post, "/api/v1/tokens", access.WriteTokens, "新建令牌；内容只显示一次", "Make a token; it is shown once", a.createToken, status(http.StatusCreated))
	on(a, del, "/api/v1/tokens/{name}", access.WriteTokens, "吊销令牌", "Revoke a token", a.revokeToken, status(http.StatusNoContent))

	on(a, get, "/api/v1/sessions", access.ReadSessions, "列出页面的登录会话", "List who is signed in to the pages", a.listSessions)
	on(a, del, "/api/v1/sessions/{id}", access.EndSessions, "结束登录会话并立即中断其请求", "End a session and what is under way with it, at once", a.endSession, status(http.StatusNoContent))

	on(a, get, "/api/v1/audit", access.ReadAudit, "列出变更记录，可按时间、操作者、操作、对象、来源筛选", "List the record of changes, by time, actor, action, object or origin", a.listAudit)
	on(a, get, "/api/v1/audit/export", access.ReadAudit, "导出变更记录，凭公钥即可离线校验", "Export the record as lines that verify offline with the public key", a.exportAudit)
	on(a, get, "/api/v1/audit/key", access.ReadAudit, "变更记录的公钥与最新的签名检查点", "The record's public key and its newest signed checkpoint", a.showAuditKey)
	on(a, get, "/api/v1/audit/verify", access.ReadAudit, "校验变更记录的哈希链与签名", "Verify the record's hashes and signatures", a.verifyAudit)
	on(a, get, "/api/v1/stats", access.ReadHub, "设备数量、样本与拒收速率", "Counts of devices, rates of samples and rejects", a.stats)

	a.beside(Beside{Pattern: "GET /healthz", ZH: "进程是否存活", EN: "Whether the process lives", Own: true, Handler: http.HandlerFunc(a.healthz)})
	a.beside(Beside{Pattern: "GET /readyz", ZH: "是否可以工作，否则说明原因", EN: "Whether the hub can work, and if not, why", Own: true, Handler: http.HandlerFunc(a.readyz)})
	a.beside(Beside{Pattern: "GET /openapi.json", ZH: "本接口的 OpenAPI 3.1 描述", EN: "This API described in OpenAPI 3.1", Own: true, Handler: http.HandlerFunc(a.openAPI)})
	a.beside(Beside{Pattern: "GET /docs", ZH: "本接口的说明页面", EN: "The page that describes this API", Own: true, Handler: http.HandlerFunc(a.docsPage)})
	for _, b := range a.Beside {
		a.beside(b)
	}
	a.mux.HandleFunc("/api/", a.noSuchPath)
}
