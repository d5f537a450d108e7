package web

// entry is a text in both languages.
type entry struct{ key, en, zh string }

// texts is all that the pages and their script say.
func texts() []entry {
	return []entry{
		{"title", "Songhua", "松花"},
		{"subtitle", "telemetry hub", "遥测枢纽"},
		{"other_lang", "中文", "English"},
		{"sign_out", "Sign out", "退出"},
		{"skip", "Skip to the chart", "跳到图表"},

		{"signin_title", "Sign in", "登录"},
		{"signin_lead", "Paste an access token. The administrator's lies in admin.token in the data directory; others are made with", "请粘贴访问令牌。管理员令牌在数据目录的 admin.token 文件中；其他令牌可用以下命令创建："},
		{"signin_token", "Access token", "访问令牌"},
		{"signin_go", "Open the console", "进入控制台"},
		{"signin_wrong", "This token is not valid, or may not read. Check that it was copied whole.", "令牌无效或没有读取权限，请检查是否完整复制。"},
		{"signin_expired", "Your token is no longer valid. Please sign in again.", "令牌已失效，请重新登录。"},

		{"fleet", "Fleet", "设备群"},
		{"devices", "Devices", "设备"},
		{"online", "online", "在线"},
		{"late", "late", "迟报"},
		{"offline", "offline", "离线"},
		{"never", "never seen", "从未上报"},
		{"sensor", "sensors", "传感器"},
		{"rsu", "roadside units", "路侧单元"},
		{"node", "nodes", "节点"},
		{"gateway", "gateways", "网关"},
		{"meter", "meters", "仪表"},
		{"samples", "Samples per second", "每秒样本"},
		{"rejects", "Rejects per minute", "每分钟拒收"},
		{"last_15m", "last 15 minutes", "近 15 分钟"},
		{"series_total", "series in use", "条序列"},

		{"chart", "Live chart", "实时曲线"},
		{"metric", "Metric", "指标"},
		{"metric_search", "Search metrics", "搜索指标"},
		{"show", "Show", "显示"},
		{"series_all", "all devices", "全部设备"},
		{"series_search", "Search devices", "搜索设备"},
		{"series_some", "{n} chosen", "已选 {n} 台"},
		{"clear", "Clear", "清除"},
		{"group", "Group", "分组"},
		{"group_none", "each series", "逐条"},
		{"group_kind", "mean by kind", "按类型平均"},
		{"group_region", "mean by region", "按地区平均"},
		{"group_site", "mean by site", "按站点平均"},
		{"range", "Time range", "时间范围"},
		{"per_second", "per second", "每秒"},
		{"top_n", "The {n} highest of {all} series. Choose devices or a group to see others.", "共 {all} 条序列，显示最高的 {n} 条；可选择设备或分组查看其他。"},
		{"no_points", "No values in this time. Choose another range or metric.", "该时段没有数据，请选择其他时间范围或指标。"},
		{"no_metrics", "Nothing has been reported yet. Register a device with `hub device add` and let it send; its metrics appear here.", "尚无上报数据。请用 `hub device add` 登记设备并开始上报，指标将显示在此处。"},
		{"no_match", "Nothing matches.", "无匹配项。"},
		{"more_match", "{n} more; type to narrow", "还有 {n} 项，请继续输入"},
		{"chart_label", "Chart of {metric}, {n} series", "{metric} 曲线图，共 {n} 条序列"},
		{"hide_series", "Hide or show this series", "隐藏或显示此序列"},
		{"query", "PromQL", "PromQL"},

		{"latest_rejects", "Latest rejects", "最近拒收"},
		{"no_rejects", "Nothing was rejected.", "没有拒收。"},
		{"no_rejects_hint", "What the hub cannot store appears here with its reason; `hub rejects` replays it.", "无法入库的数据会连同原因显示在此处，可用 `hub rejects` 重放。"},
		{"not_allowed", "Your token may not read this.", "当前令牌无权读取。"},

		{"search", "Search by id or name", "按编号或名称搜索"},
		{"any_kind", "every kind", "全部类型"},
		{"any_state", "every state", "全部状态"},
		{"col_state", "State", "状态"},
		{"col_device", "Device", "设备"},
		{"col_kind", "Kind", "类型"},
		{"col_place", "Place", "地点"},
		{"col_seen", "Last seen", "最近上报"},
		{"col_period", "Every", "周期"},
		{"col_series", "Series", "序列"},
		{"one_sensor", "sensor", "传感器"},
		{"one_rsu", "roadside unit", "路侧单元"},
		{"one_node", "node", "节点"},
		{"one_gateway", "gateway", "网关"},
		{"one_meter", "meter", "仪表"},
		{"previous", "Previous", "上一页"},
		{"next", "Next", "下一页"},
		{"no_devices", "No device is registered yet. Add one with", "尚未登记设备，可用以下命令添加："},
		{"no_devices_match", "No device matches. Change the search or the filters.", "没有匹配的设备，请更改搜索或筛选条件。"},
		{"chart_device", "Show its values in the chart", "在图表中显示"},
		{"ago", "{t} ago", "{t}前"},
		{"just_now", "just now", "刚刚"},
		{"second", "s", " 秒"},
		{"minute", "min", " 分钟"},
		{"hour", "h", " 小时"},
		{"day", "d", " 天"},

		{"stale", "The hub does not answer. Trying again…", "枢纽无应答，正在重试…"},
		{"noscript", "This page draws live charts and needs JavaScript.", "本页需要 JavaScript 绘制实时图表。"},
		{"api_docs", "API", "接口"},
	}
}

// regions names the division codes of GB/T 2260 that Jilin's devices carry.
func regions() []entry {
	return []entry{
		{"220000", "Jilin province", "吉林省"}, {"220100", "Changchun", "长春市"}, {"220200", "Jilin City", "吉林市"},
		{"220300", "Siping", "四平市"}, {"220400", "Liaoyuan", "辽源市"}, {"220500", "Tonghua", "通化市"},
		{"220600", "Baishan", "白山市"}, {"220700", "Songyuan", "松原市"}, {"220800", "Baicheng", "白城市"}, {"222400", "Yanbian", "延边州"},
	}
}
