package lambdahttp

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxResponse is what Lambda lets out: 6 MB of encoded response.
const maxResponse = 6 << 20

// encode is r as JSON. One that Lambda would refuse becomes a 500.
func (r response) encode() ([]byte, error) {
	out, err := json.Marshal(r)
	if len(out) > maxResponse {
		return problem(http.StatusInternalServerError, "internal").encode()
	}
	return out, err
}

// response is a response of payload 2.0. All members are always there: the
// gateway takes an answer without statusCode for a body, and says 200.
type response struct {
	StatusCode      int               `json:"statusCode"`
	Headers         map[string]string `json:"headers"`
	Cookies         []string          `json:"cookies"`
	Body            string            `json:"body"`
	IsBase64Encoded bool              `json:"isBase64Encoded"`
}

// problem is an answer of this package itself (RFC 9457).
func problem(status int, code string) response {
	return response{
		StatusCode: status,
		Headers: map[string]string{
			"Content-Type":           "application/problem+json",
			"Cache-Control":          "no-store",
			"X-Content-Type-Options": "nosniff",
			"Referrer-Policy":        "no-referrer",
		},
		Cookies: []string{},
		Body:    `{"type":"about:blank","title":"` + http.StatusText(status) + `","status":` + strconv.Itoa(status) + `,"code":"` + code + `"}`,
	}
}

// Unavailable answers 503 try_again: the handler of a function whose wiring
// failed. Its caller may come again, and its operator has been told.
func Unavailable(w http.ResponseWriter, _ *http.Request) {
	p := problem(http.StatusServiceUnavailable, "try_again")
	for name, value := range p.Headers {
		w.Header().Set(name, value)
	}
	w.Header().Set("Retry-After", "60")
	w.WriteHeader(p.StatusCode)
	_, _ = w.Write([]byte(p.Body))
}

// recorder is the http.ResponseWriter that a response is made from.
type recorder struct {
	header http.Header
	sent   http.Header // as it was when the status was written
	status int
	body   bytes.Buffer
	over   bool // the body was larger than maxResponse
}

func (w *recorder) Header() http.Header { return w.header }

func (w *recorder) WriteHeader(status int) {
	if w.sent != nil || status < 200 { // informational answers do not reach the client
		return
	}
	w.status, w.sent = status, w.header.Clone()
}

func (w *recorder) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	if w.body.Len()+len(b) > maxResponse {
		w.over = true
		return 0, errors.New("lambdahttp: the response is too large")
	}
	return w.body.Write(b)
}

func (w *recorder) code() int {
	w.WriteHeader(http.StatusOK)
	return w.status
}

func (w *recorder) response(method string) response {
	out := response{StatusCode: w.code(), Headers: map[string]string{}, Cookies: []string{}}
	for name, values := range w.sent {
		if http.CanonicalHeaderKey(name) == "Set-Cookie" { // the one header whose values cannot be joined
			for _, v := range values {
				out.Cookies = append(out.Cookies, oneLine.Replace(v))
			}
			continue
		}
		out.Headers[name] = oneLine.Replace(strings.Join(values, ", "))
	}
	if w.body.Len() == 0 {
		return out
	}
	if _, ok := w.sent["Content-Type"]; !ok {
		out.Headers["Content-Type"] = http.DetectContentType(w.body.Bytes())
	}
	if method == http.MethodHead || out.StatusCode == http.StatusNoContent || out.StatusCode == http.StatusNotModified {
		return out
	}
	if utf8.Valid(w.body.Bytes()) && w.sent.Get("Content-Encoding") == "" {
		out.Body = w.body.String()
	} else {
		out.Body, out.IsBase64Encoded = base64.StdEncoding.EncodeToString(w.body.Bytes()), true
	}
	return out
}

// oneLine does to header values what net/http's server does.
var oneLine = strings.NewReplacer("\r", " ", "\n", " ")
