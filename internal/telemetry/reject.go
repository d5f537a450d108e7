package telemetry

// Reject is a sample or a message that was not stored, and why.
type Reject struct {
	// Index is the record's position in its message; -1 when the whole message
	// is meant.
	Index  int
	Stage  Stage
	Reason Reason
	// Detail names the value at fault and, where known, the place in the input.
	Detail string
}

// Stage is where on a sample's way a reject happened.
type Stage string

// The stages of a sample's way, in their order. Door is the transport before
// ingest's own list begins.
const (
	StageDoor     Stage = "door"
	StageDecode   Stage = "decode"
	StageIdentify Stage = "identify"
	StageValidate Stage = "validate"
	StageGrade    Stage = "grade"
	StageObserve  Stage = "observe"
	StageCommit   Stage = "commit"
)

// Reason is why something was not stored: one of a closed list.
type Reason string

// The reasons. [Reasons] explains each in English and Chinese; docs/rejects.md
// is generated from it.
const (
	ReasonMalformed        Reason = "malformed"
	ReasonUnsupported      Reason = "unsupported"
	ReasonTooLarge         Reason = "too_large"
	ReasonDecompression    Reason = "decompression_limit"
	ReasonUnknownDevice    Reason = "unknown_device"
	ReasonDeviceDisabled   Reason = "device_disabled"
	ReasonNotPermitted     Reason = "not_permitted"
	ReasonForeignName      Reason = "foreign_name"
	ReasonSeriesLimit      Reason = "series_limit"
	ReasonMetricInvalid    Reason = "metric_invalid"
	ReasonMetricUnknown    Reason = "metric_unknown"
	ReasonLabelInvalid     Reason = "label_invalid"
	ReasonLabelLimit       Reason = "label_limit"
	ReasonStateInvalid     Reason = "state_invalid"
	ReasonStateLimit       Reason = "state_limit"
	ReasonNotFinite        Reason = "not_finite"
	ReasonTimeFuture       Reason = "time_future"
	ReasonTimePast         Reason = "time_past"
	ReasonGradeUnsupported Reason = "grade_unsupported"
	ReasonTimeUnresolved   Reason = "time_unresolved"
	ReasonWindowClosed     Reason = "window_closed"
	ReasonPersonalData     Reason = "personal_data"
	ReasonTooMany          Reason = "too_many"
	ReasonConflict         Reason = "conflict"
)

// ReasonText explains a reason to people.
type ReasonText struct {
	Reason Reason
	Stage  Stage // where it is usually found
	EN, ZH string
}

// Reasons is the closed list, in the order of the stages.
func Reasons() []ReasonText {
	return []ReasonText{
		{ReasonTooLarge, StageDoor, "The message is larger than the door allows. Send smaller batches, or raise the door's limit.", "消息超过入口允许的大小。请减小批量，或调高该入口的上限。"},
		{ReasonDecompression, StageDoor, "The compressed body grows beyond the allowed ratio or size. Send it uncompressed or in smaller pieces.", "压缩内容解压后超过允许的比例或大小。请不压缩发送或分成小块。"},
		{ReasonMalformed, StageDecode, "The message or record cannot be read in its format; the detail names the place. Correct the sender.", "消息或记录不符合其格式，详情给出位置。请修正发送方。"},
		{ReasonUnsupported, StageDecode, "The format, content type or kind of value is not one that the hub stores.", "枢纽不支持该格式、内容类型或值类型。"},
		{ReasonUnknownDevice, StageIdentify, "No device of this id is registered. Add it with `hub device add`.", "没有登记此编号的设备。请用 `hub device add` 登记。"},
		{ReasonDeviceDisabled, StageIdentify, "The device is disabled.", "设备已被停用。"},
		{ReasonNotPermitted, StageIdentify, "The sender may not speak for this device.", "发送方无权代表该设备上报。"},
		{ReasonForeignName, StageIdentify, "The name of the record is neither a metric nor <device id>:<metric> of the sending device.", "记录名既不是指标名，也不是本设备的 <设备编号>:<指标名>。"},
		{ReasonSeriesLimit, StageValidate, "The device has as many series as it may have. Remove changing values from tags, or raise the limit.", "设备的时间序列数已达上限。请勿把变化的值放入标签，或调高上限。"},
		{ReasonMetricInvalid, StageValidate, "The metric name is empty, too long, not UTF-8, or has control characters.", "指标名为空、过长、不是 UTF-8 或含控制字符。"},
		{ReasonMetricUnknown, StageValidate, "The device's model does not list this metric and takes no others. Add it to the model, or let the model allow unknown metrics.", "设备的型号未列出该指标，且不接受未列出的指标。请在型号中补充，或允许未知指标。"},
		{ReasonLabelInvalid, StageValidate, "A tag has an empty, reserved, repeated, too long or non-UTF-8 name, or a too long or non-UTF-8 value.", "标签名为空、保留、重复、过长或不是 UTF-8，或标签值过长、不是 UTF-8。"},
		{ReasonLabelLimit, StageValidate, "The sample has more tags than a series may have.", "样本的标签数超过上限。"},
		{ReasonStateInvalid, StageValidate, "A state has an empty, too long or non-UTF-8 name, one with control characters, or a too long or non-UTF-8 value.", "状态名为空、过长、不是 UTF-8 或含控制字符，或状态值过长、不是 UTF-8。"},
		{ReasonStateLimit, StageValidate, "The device has as many states as it may have. Report texts under fewer names.", "设备的状态数已达上限。请减少状态名的数量。"},
		{ReasonNotFinite, StageValidate, "The value is no finite number.", "值不是有限数。"},
		{ReasonTimeFuture, StageValidate, "The sample's time lies too far in the future. Correct the sender's clock.", "样本时间超前过多。请校准发送方的时钟。"},
		{ReasonTimePast, StageValidate, "The sample's time lies before what the hub keeps.", "样本时间早于枢纽的保存期限。"},
		{ReasonGradeUnsupported, StageGrade, "Data of this grade is kept on an encrypted volume only, and texts of such devices not at all. The detail says what is missing: set store.graded_dir to a directory on an encrypted volume (LUKS, fscrypt or gocryptfs).", "该级别的数据只存入加密卷，此类设备上报的文本不予保存。详情说明缺少什么：请将 store.graded_dir 设为加密卷（LUKS、fscrypt 或 gocryptfs）上的目录。"},
		{ReasonTimeUnresolved, StageObserve, "A V2X message carries no time, or none near to when it came. Set the clock of the roadside unit.", "V2X 消息未带时间，或其时间与到达时刻相差过大。请校准路侧单元的时钟。"},
		{ReasonWindowClosed, StageObserve, "The minute of the V2X message is written already, or lies more than a day back: its numbers do not change any more.", "V2X 消息所属的分钟已经写入，或已超过一天：其数值不再更改。"},
		{ReasonPersonalData, StageObserve, "The V2X message holds a number plate, an identity or a phone number; the detail shows it masked. Such a message is neither read nor kept: send it without.", "V2X 消息含车牌号、身份证号或电话号码，详情中已脱敏。此类消息不读取、不保存，请去除后再发送。"},
		{ReasonTooMany, StageObserve, "The hub watches as many roadside units, intersections, links or events as it may. Raise the bound under traffic in the configuration.", "枢纽所观察的路侧单元、路口、路段或事件数已达上限。请在配置的 traffic 下调高上限。"},
		{ReasonConflict, StageCommit, "Another value of the same series and time is already stored; the first one stays.", "同一序列同一时刻已存有不同的值，保留先到的值。"},
	}
}
