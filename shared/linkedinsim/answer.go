package linkedinsim

import (
	"bytes"
	"cmp"
	"encoding/json"
	"net/http"
	"net/url"
)

// answer is what is sent back.
type answer struct {
	status int
	header http.Header // added to those of every answer
	body   []byte
}

// jsonAnswer encodes v; a value that cannot be encoded is a bug.
func jsonAnswer(status int, v any) answer {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return answer{status: 500, body: []byte(err.Error())}
	}
	return answer{status: status, body: bytes.TrimSpace(b.Bytes()), header: http.Header{"Content-Type": {"application/json"}}}
}

// oauthError is the error body of the /oauth endpoints.
func oauthError(status int, code, description string) answer {
	return jsonAnswer(status, struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}{code, description})
}

// apiError is the error body of the API. Zero service and empty code are left out.
func apiError(status, service int, code, message string) answer {
	return jsonAnswer(status, struct {
		Status  int    `json:"status"`
		Service int    `json:"serviceErrorCode,omitempty"`
		Code    string `json:"code,omitempty"`
		Message string `json:"message"`
	}{status, service, code, message})
}

// errorCode is the code that a JSON error body or an error redirect carries.
func errorCode(a answer) string {
	if u, err := url.Parse(a.header.Get("Location")); err == nil && a.status == 302 {
		return u.Query().Get("error")
	}
	if a.status < 400 {
		return ""
	}
	var body struct{ Error, Code string }
	_ = json.Unmarshal(a.body, &body)
	return cmp.Or(body.Error, body.Code)
}

func notFound(w http.ResponseWriter, _ *http.Request) {
	a := apiError(404, 0, "NOT_FOUND", "No virtual resource found")
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body)
}
