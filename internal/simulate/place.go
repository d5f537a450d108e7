package simulate

import (
	"math/rand/v2"
	"slices"
	"strings"
)

// place is a site of the simulated fleet. Positions are of the real places, to
// about a kilometre; regions are division codes of GB/T 2260.
type place struct {
	site, region string
	lat, lon     float64
	en, zh       string
	roles        string // models that stand there
}

func places() []place {
	return []place{
		{"changchun-renmin-street", "220100", 43.8860, 125.3245, "Renmin Street, Changchun", "长春人民大街", "air light"},
		{"changchun-jingyue", "220100", 43.7980, 125.4570, "Jingyue Lake, Changchun", "长春净月潭", "air water soil"},
		{"changchun-nanhu", "220100", 43.8560, 125.3070, "Nanhu Park, Changchun", "长春南湖公园", "air water light"},
		{"changchun-auto-city", "220100", 43.8370, 125.1900, "Automobile City, Changchun", "长春汽车城", "air light node"},
		{"changchun-beihu", "220100", 43.9900, 125.3580, "Beihu Science Park, Changchun", "长春北湖科技园", "air light node"},
		{"nongan-fields", "220100", 44.4320, 125.1840, "Nong'an fields", "农安农田", "soil"},
		{"jilin-songhua-lake", "220200", 43.7270, 126.6880, "Songhua Lake, Jilin", "吉林松花湖", "air water"},
		{"jilin-binjiang-road", "220200", 43.8450, 126.5560, "Binjiang Road, Jilin", "吉林滨江路", "air light"},
		{"jilin-chemical-park", "220200", 43.9450, 126.5640, "Chemical park, Jilin", "吉林化工园区", "air node"},
		{"shulan-paddies", "220200", 44.4060, 126.9650, "Shulan paddies", "舒兰稻田", "soil water"},
		{"lishu-black-soil", "220300", 43.3080, 124.3360, "Lishu black soil", "梨树黑土地", "soil"},
		{"siping-station", "220300", 43.1700, 124.3700, "Siping railway station", "四平站前", "air light"},
		{"tonghua-hun-river", "220500", 41.7280, 125.9400, "Hun River, Tonghua", "通化浑江", "air water light"},
		{"jian-vineyards", "220500", 41.1260, 126.1940, "Ji'an vineyards", "集安葡萄园", "soil"},
		{"songyuan-chagan-lake", "220700", 45.2500, 124.2900, "Chagan Lake, Songyuan", "松原查干湖", "air water soil"},
		{"baicheng-momoge", "220800", 45.9100, 123.6700, "Momoge, Baicheng", "白城莫莫格", "water soil air"},
		{"yanji-bulhatong-river", "222400", 42.9060, 129.5060, "Bulhatong River, Yanji", "延吉布尔哈通河", "air water light"},
		{"hunchun-port", "222400", 42.8620, 130.3660, "Hunchun port", "珲春口岸", "air light node"},
		{"changchun-avenues", "220100", 43.8700, 125.3120, "Avenues of Changchun", "长春城区路网", "road"},
		{"antu-forest", "222400", 42.5420, 128.3080, "Antu forest", "安图林区", "soil air"},
	}
}

func placeFor(model string, rng *rand.Rand) place {
	fit := slices.DeleteFunc(places(), func(p place) bool {
		return !slices.Contains(strings.Fields(p.roles), model)
	})
	return fit[rng.IntN(len(fit))]
}

// modelNames is what people call a model.
func modelNames(model string) (en, zh string) {
	switch model {
	case "soil":
		return "Soil probe", "土壤探头"
	case "air":
		return "Air station", "空气站"
	case "water":
		return "Water gauge", "水位计"
	case "light":
		return "Street light", "路灯"
	case "road":
		return "Roadside unit", "路侧单元"
	}
	return "Compute node", "计算节点"
}
