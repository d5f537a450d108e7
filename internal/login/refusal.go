package login

import (
	"fmt"
	"time"
)

// Refusal says why somebody was not let in, in both languages, with the way out.
type Refusal struct {
	Reason string
	ZH, EN string
	// After is how long to wait; zero for no such reason.
	After time.Duration
	// Cause is for the log of the hub.
	Cause error
}

func (r *Refusal) Error() string {
	if r.Cause != nil {
		return r.Reason + ": " + r.Cause.Error()
	}
	return r.Reason
}

// Unwrap returns the cause.
func (r *Refusal) Unwrap() error { return r.Cause }

// Down reports whether the issuer does not answer.
func (r *Refusal) Down() bool { return r.Reason == reasonDown }

// NoRight reports whether the person is known and may nothing.
func (r *Refusal) NoRight() bool { return r.Reason == reasonGrant }

// Why somebody is not let in.
const (
	reasonToken   = "token"
	reasonLink    = "link"
	reasonRate    = "rate"
	reasonAttempt = "attempt"
	reasonIssuer  = "issuer"
	reasonDown    = "issuer_down"
	reasonProof   = "proof"
	reasonGrant   = "grant"
	reasonFull    = "full"
)

// reasons is the whole of why not.
var reasons = [...]struct{ reason, en, zh string }{
	{reasonToken, "This token is not valid, or may not read. Check that it was copied whole.", "令牌无效或没有读取权限，请检查是否完整复制。"},
	{reasonLink, "This link came from another site, so nobody was signed in. Paste the token below if you meant to.", "该链接来自其他网站，未执行登录。如确需登录，请在下方粘贴令牌。"},
	{reasonRate, "Too many attempts from your address. Wait %s and try again.", "来自您地址的尝试过多，请等待 %s 后重试。"},
	{reasonAttempt, "This sign-in was begun in another window, or more than ten minutes ago. Begin it again here.", "该登录是在其他窗口发起的，或已超过十分钟。请在此重新登录。"},
	{reasonIssuer, "%s did not sign you in (%s). Try again, or ask who runs it.", "%s 未完成登录（%s）。请重试或联系其管理员。"},
	{reasonDown, "%s does not answer at the moment. Try again in a minute; access tokens work as ever.", "%s 暂时没有应答，请稍后重试；访问令牌仍可正常使用。"},
	{reasonProof, "What %s answered does not prove who you are, so nobody was signed in. Try again; if it stays so, tell the hub's administrator.", "%s 的应答无法证明您的身份，未执行登录。请重试；若仍如此，请告知枢纽管理员。"},
	{reasonGrant, "You are %s, and nobody gave you a right in this hub. Ask its administrator for an entry in oidc.grants, or sign in as somebody else.", "您的身份是 %s，但在本枢纽中尚无任何权限。请联系管理员在 oidc.grants 中授权，或换用其他账号登录。"},
	{reasonFull, "Too many people are signed in. An administrator can end sessions with `hub session end`.", "当前登录会话过多，管理员可用 `hub session end` 结束会话。"},
}

func refuse(reason string, cause error, args ...any) *Refusal {
	for _, r := range reasons {
		if r.reason == reason {
			en, zh := r.en, r.zh
			if len(args) > 0 {
				en, zh = fmt.Sprintf(en, args...), fmt.Sprintf(zh, args...)
			}
			return &Refusal{Reason: reason, EN: en, ZH: zh, Cause: cause}
		}
	}
	panic("login: no such reason: " + reason)
}
