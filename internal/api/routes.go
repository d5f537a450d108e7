package api

import (
	"net/http"
	"reflect"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/model"
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

	on(a, get, "/api/v1/sites", access.ReadSites, "列出站点", "List sites", a.listSites)
	on(a, get, "/api/v1/sites/{id}", access.ReadSites, "查看站点", "Show a site", a.getSite)
	on(a, put, "/api/v1/sites/{id}", access.WriteSites, "新建或替换站点", "Create or replace a site", a.putSite)
	on(a, del, "/api/v1/sites/{id}", access.WriteSites, "删除站点", "Remove a site", a.removeSite, status(http.StatusNoContent))
	on(a, get, "/api/v1/regions", access.ReadSites, "列出使用中的行政区划代码", "List the division codes in use", a.listRegions)

	on(a, get, "/api/v1/models", access.ReadModels, "列出设备型号", "List device models", a.listModels)
	on(a, get, "/api/v1/models/{id}", access.ReadModels, "查看设备型号（编号中的 / 写作 %2F）", "Show a device model (a / of its id is written %2F)", a.getModel)
	on(a, put, "/api/v1/models/{id}", access.WriteModels, "新建或替换设备型号", "Create or replace a device model", a.putModel, a.described(reflect.TypeFor[model.Document]()))
	on(a, del, "/api/v1/models/{id}", access.WriteModels, "删除没有设备使用的型号", "Remove a model that no device names", a.removeModel, status(http.StatusNoContent))

	on(a, get, "/api/v1/rejects", access.ReadRejects, "列出未入库的消息及原因", "List what was not stored, and why", a.listRejects)
	on(a, post, "/api/v1/rejects:replay", access.WriteRejects, "重新处理未入库的消息", "Try rejected messages again", a.replayRejects)
	on(a, post, "/api/v1/rejects:drop", access.WriteRejects, "丢弃未入库的消息", "Drop rejected messages", a.dropRejects)

	on(a, get, "/api/v1/tokens", access.ReadTokens, "列出令牌", "List tokens", a.listTokens)
	on(a, post, "/api/v1/tokens", access.WriteTokens, "新建令牌；内容只显示一次", "Make a token; it is shown once", a.createToken, status(http.StatusCreated))
	on(a, del, "/api/v1/tokens/{name}", access.WriteTokens, "吊销令牌", "Revoke a token", a.revokeToken, status(http.StatusNoContent))

	on(a, get, "/api/v1/audit", access.ReadAudit, "列出变更记录", "List the record of changes", a.listAudit)
	on(a, get, "/api/v1/audit/verify", access.ReadAudit, "校验变更记录的哈希链", "Verify the hash chain of the record", a.verifyAudit)
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
