package issuer

import (
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
)

// Token is an ID token before it is signed again.
type Token struct {
	Header, Claims map[string]any
	// Key signs it: the issuer's own unless another is set; none for alg none.
	Key *rsa.PrivateKey
}

// Tamper changes every ID token from now on; nil changes none. The code that it
// was issued for is used up all the same.
func (i *Issuer) Tamper(with func(*Token)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.tamper = with
}

func (i *Issuer) tampered(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i.mu.Lock()
		i.codes++
		tamper := i.tamper
		i.mu.Unlock()
		if tamper == nil {
			next.ServeHTTP(w, r)
			return
		}
		recorded := httptest.NewRecorder()
		next.ServeHTTP(recorded, r)
		answer := map[string]any{}
		err := json.Unmarshal(recorded.Body.Bytes(), &answer)
		raw, ok := answer["id_token"].(string)
		if err != nil || !ok {
			http.Error(w, recorded.Body.String(), recorded.Code)
			return
		}
		answer["id_token"] = i.sign(raw, tamper)
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(answer) // an error means that the hub is gone
	})
}

var plain = base64.RawURLEncoding

// sign signs what a token becomes.
func (i *Issuer) sign(raw string, tamper func(*Token)) string {
	parts := strings.Split(raw, ".")
	t := &Token{Header: map[string]any{}, Claims: map[string]any{}}
	for n, into := range []map[string]any{t.Header, t.Claims} {
		text, err := plain.DecodeString(parts[n])
		if err != nil {
			panic(err) // the issuer just made it
		}
		if err := json.Unmarshal(text, &into); err != nil {
			panic(err)
		}
	}
	own, err := i.storage.SigningKey(i.t.Context())
	if err != nil {
		panic(err)
	}
	t.Key = own.Key().(*rsa.PrivateKey)
	tamper(t)
	text := part(t.Header) + "." + part(t.Claims)
	return text + "." + plain.EncodeToString(signature(t, text))
}

func part(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // came from JSON
	}
	return plain.EncodeToString(text)
}

func signature(t *Token, text string) []byte {
	switch t.Header["alg"] {
	case "none":
		return nil
	case "HS256": // with the client's secret, as OpenID Connect has it
		mac := hmac.New(sha256.New, []byte(ClientSecret))
		mac.Write([]byte(text))
		return mac.Sum(nil)
	}
	sum := sha256.Sum256([]byte(text))
	signed, err := rsa.SignPKCS1v15(rand.Reader, t.Key, crypto.SHA256, sum[:])
	if err != nil {
		panic(err) // the key is good
	}
	return signed
}
