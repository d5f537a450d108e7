package web

import (
	"slices"
	"strings"

	"github.com/songhua-io/hub/internal/catalog"
)

// article is one of the regulation, word for word, with what it says in English.
type article struct {
	Number string // as it is cited
	Name   catalog.Text
	Words  []string // paragraphs
	Says   string
}

// regulation is the law by which the catalogue is kept.
var regulation = catalog.Text{ZH: "吉林省大数据条例", EN: "Big-data regulation of Jilin province"}

// articles are those that the catalogue is about.
func articles() []article {
	return []article{
		{"第二十四条", catalog.Text{ZH: "公共数据目录编制", EN: "The catalogue of public data"}, []string{
			"省大数据主管部门负责制定公共数据目录的编制规范并组织实施。",
			"省人民政府各部门应当按照公共数据目录的编制规范编制和更新本部门、本系统公共数据目录，并统筹本领域内公共企事业单位公共数据目录的编制工作。经省大数据主管部门归集审核后，确定本省公共数据目录。",
			"市、州和县级大数据主管部门可以根据实际需要，对本行政区域内未纳入本省公共数据目录的公共数据进行梳理，编制本区域公共数据补充目录，并报省大数据主管部门备案。",
		}, "Public data are listed in a catalogue by one norm; departments compile and update their part, and the province's authority confirms it."},
		{"第二十五条", catalog.Text{ZH: "公共数据采集", EN: "Collecting public data"}, []string{
			"行政机关、公共企事业单位为履行法定职责的需要而收集、使用数据的，应当在其履行法定职责所必需的范围和限度内，依照法律、行政法规规定的原则、条件和程序进行。",
			"行政机关、公共企事业单位应当按照一数一源、一源多用的要求，在公共数据目录内采集公共数据，并确保数据采集的准确性、完整性、时效性、安全性，实现公共数据的一次采集、共享使用；可以通过共享方式获得公共数据的，不得通过其它方式重复采集。",
			"行政机关、公共企事业单位不得非法更改、删除或者伪造公共数据。",
		}, "One source for each datum, used by many; what can be had by sharing is not collected again. Data are accurate, complete, timely and safe, and nobody alters, deletes or forges them unlawfully."},
		{"第二十七条", catalog.Text{ZH: "公共数据维护、更新和更正", EN: "Keeping, updating and correcting public data"}, []string{
			"公共数据存在错误、遗漏等情形的，或者存在侵犯个人信息、商业秘密等情形的，被采集人可以向数据采集、产生单位或者通过省大数据平台提出异议，数据采集、产生单位或省大数据平台应当按规定进行更正、补充。",
		}, "Where public data are wrong or incomplete, or violate personal information or trade secrets, those concerned may object, and the data are corrected or supplemented."},
		{"第二十八条", catalog.Text{ZH: "公共数据共享原则", EN: "Sharing is the rule"}, []string{
			"公共数据以共享为原则，不共享为例外。",
			"行政机关、公共企事业单位因依法履行职责需要使用公共数据的，相关行政机关、公共企事业单位不得拒绝其共享请求。但法律、法规另有规定的除外。",
		}, "Public data are shared; not to share them is the exception. Who needs them for a duty by law may not be refused, unless a law says otherwise."},
		{"第二十九条", catalog.Text{ZH: "公共数据分类共享", EN: "Classes of sharing"}, []string{
			"公共数据包括无条件共享数据、有条件共享数据和不予共享数据。",
			"属于无条件共享的公共数据，数据提供者应当按照公共数据共享清单的要求，按照统一标准报送省大数据平台，平台应当无条件提供相应访问权限。",
			"属于有条件共享的公共数据，数据提供者应当明确公共数据的共享条件、共享范围和使用用途。数据使用者通过省大数据平台提出申请，由省大数据主管部门会同省人民政府相关部门进行审核。",
			"属于不予共享的公共数据，实行负面清单制度管理。",
		}, "Among authorities data are shared unconditionally, conditionally or not. Conditional sharing names its condition, scope and use, and applications are reviewed; what is not shared stands on a negative list."},
		{"第三十条", catalog.Text{ZH: "共享公共数据使用要求", EN: "Using shared data"}, []string{
			"行政机关、公共企事业单位应当按照履行职责的需要使用共享公共数据，不得以任何形式提供给第三方，不得用于其他目的。",
		}, "Shared data are used for the duty they were asked for, not for anything else, and are not passed on."},
		{"第三十二条", catalog.Text{ZH: "公共数据开放原则", EN: "Opening public data"}, []string{
			"省大数据主管部门会同数据提供部门应当以需求为导向，遵循统一标准、便捷高效、安全可控的原则，依法有序推进公共数据面向自然人、法人和其他组织开放。",
		}, "Public data are opened to everybody by need, by one standard, easily and safely."},
		{"第三十三条", catalog.Text{ZH: "公共数据分类开放", EN: "Classes of opening"}, []string{
			"公共数据分为无条件开放数据、有条件开放数据和不予开放数据。",
			"属于无条件开放的公共数据，可以提供给所有自然人、法人和其他组织使用。",
			"属于有条件开放的公共数据，在特定条件下可以提供给自然人、法人和其他组织使用。行政机关、公共企事业单位应当明确公共数据的开放条件、开放范围、开放方式和使用用途等信息。对自然人、法人和其他组织通过省大数据平台提出的申请，经审查符合开放条件的，应当及时通过省大数据平台向申请人开放。",
			"涉及国家秘密、商业秘密、个人隐私，或者法律、行政法规规定不得开放的公共数据不予开放。",
			"开放的数据应当依法依规进行脱敏脱密处理，列入有条件开放或者不予开放的公共数据，应当有法律、行政法规或者国家有关规定作为依据。",
		}, "To the public data are opened unconditionally, conditionally or not. Conditions are published, applications that meet them are granted in time. Secrets and privacy are not opened; what is opened is de-identified, and what is held back has a legal ground."},
		{"第三十八条", catalog.Text{ZH: "个人数据主体权益", EN: "Rights of persons"}, []string{
			"自然人的个人数据受法律保护，任何自然人、法人和其他组织不得侵害自然人就其个人数据享有的合法权益。",
			"自然人可以依法请求查阅、复制、转移其个人数据；发现个人数据不准确或者不完整的，可以依法请求更正、补充；发现个人数据应当删除而未删除的，可以依法请求删除。",
		}, "Personal data are protected by law. A person may ask to see, copy and move the own data, and to have them corrected, supplemented or deleted."},
		{"第三十九条", catalog.Text{ZH: "个人数据处理原则和规则", EN: "Handling personal data"}, []string{
			"处理个人数据，应当遵守法律、法规，遵循合法、正当、必要和诚信原则，公开个人数据处理规则，明示处理的目的、方式和范围，不得窃取或者以其他方式非法获取个人数据，不得泄露或者篡改其收集的个人数据，不得过度处理；未经个人同意，不得向他人提供其个人数据，但是，经过处理无法识别特定个人且不能复原的除外。",
			"处理个人数据，应当采取技术措施和其他必要措施，确保其收集、存储的个人数据安全，防止数据泄露、篡改、丢失；发生或者可能发生个人数据泄露、篡改、丢失的，应当及时采取补救措施，按照规定告知个人并向有关主管部门报告。",
		}, "Personal data go to others with consent only, unless they were processed so that nobody can be recognised and it cannot be undone. They are kept safe, and leaks are remedied and reported."},
	}
}

// articleOf finds the article that a legal basis names, where its words are known.
func articleOf(l catalog.Law) (article, bool) {
	if !strings.Contains(strings.Trim(l.Title.ZH, "《》"), regulation.ZH) {
		return article{}, false
	}
	all := articles()
	i := slices.IndexFunc(all, func(a article) bool { return strings.HasPrefix(l.Article, a.Number) })
	if i < 0 {
		return article{}, false
	}
	return all[i], true
}

// lawOf is an article as a legal basis.
func lawOf(number string) catalog.Law { return catalog.Law{Title: regulation, Article: number} }
