package lambdahttp

import (
	"bytes"
	"context"
	"encoding/base64"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// maxBody bounds what a handler is given to read. It is far above what keepin's
// routes accept and far below the 6 MB that Lambda lets in.
const maxBody = 1 << 20

// codes are the answers to a request that no handler sees.
var codes = map[int]string{
	http.StatusBadRequest:            "bad_request",
	http.StatusNotFound:              "not_found",
	http.StatusRequestEntityTooLarge: "too_large",
}

// request makes the request of an HTTP event, or the status to refuse it with.
//
// Of duplicate headers and query values the event has only a map joined by
// commas. Query values are therefore taken from the raw query string and
// cookies from their own array; a header stays joined, as HTTP allows
// (RFC 9110 section 5.3).
func request(ctx context.Context, e event) (*http.Request, int) {
	if e.RequestContext.HTTP.Method == "" {
		return nil, http.StatusBadRequest
	}
	path, ok := e.path()
	if !ok {
		return nil, http.StatusNotFound
	}
	body := []byte(e.Body)
	if e.IsBase64Encoded {
		if base64.StdEncoding.DecodedLen(len(e.Body)) > maxBody+2 {
			return nil, http.StatusRequestEntityTooLarge
		}
		var err error
		if body, err = base64.StdEncoding.DecodeString(e.Body); err != nil {
			return nil, http.StatusBadRequest
		}
	}
	if len(body) > maxBody {
		return nil, http.StatusRequestEntityTooLarge
	}
	if e.RequestContext.Authorizer.IAM != nil {
		if arn, ok := role(e.RequestContext.Authorizer.IAM.UserARN); ok {
			ctx = context.WithValue(ctx, callerKey{}, arn)
		}
	}
	r := newRequest(ctx, e.RequestContext.HTTP.Method, path)
	r.URL.RawQuery = e.RawQueryString
	r.RequestURI = r.URL.RequestURI()
	for _, name := range slices.Sorted(maps.Keys(e.Headers)) { // sorted: "A" and "a" may both be there
		r.Header.Add(name, e.Headers[name])
	}
	setCookies(r, e.Cookies)
	r.Host = r.Header.Get("Host")
	r.Header.Del("Host")
	r.RemoteAddr = net.JoinHostPort(e.RequestContext.HTTP.SourceIP, "0")
	r.Body = io.NopCloser(bytes.NewReader(body))
	r.ContentLength = int64(len(body))
	return r, 0
}

// newRequest makes a request for an escaped path, as a server has it.
func newRequest(ctx context.Context, method, path string) *http.Request {
	u := &url.URL{}
	u.Path, _ = url.PathUnescape(path)
	u.RawPath = path
	r := &http.Request{
		Method: method, URL: u, RequestURI: path,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{}, Body: http.NoBody,
	}
	return r.WithContext(ctx)
}

func setCookies(r *http.Request, cookies []string) {
	r.Header.Del("Cookie")
	if len(cookies) > 0 {
		r.Header.Set("Cookie", strings.Join(cookies, "; "))
	}
}

// path is the escaped path of the matched route, its parameters filled in: an
// id with a slash in it stays one segment. The raw path is not asked, as it
// may begin with a stage or an API mapping; only the catch-all route
// "$default" has no other.
func (e event) path() (string, bool) {
	_, route, ok := strings.Cut(e.RouteKey, " ")
	if !ok {
		p := e.RawPath
		if s := e.RequestContext.Stage; s != "" && s != "$default" && (p == "/"+s || strings.HasPrefix(p, "/"+s+"/")) {
			p = p[len("/"+s):]
		}
		return (&url.URL{Path: "/" + strings.TrimLeft(p, "/")}).EscapedPath(), true
	}
	if !strings.HasPrefix(route, "/") {
		return "", false
	}
	var b strings.Builder
	segments := strings.Split(route[1:], "/")
	for i, segment := range segments {
		if segment == "" && i < len(segments)-1 {
			return "", false
		}
		name, ok := strings.CutPrefix(segment, "{")
		if ok {
			name, ok = strings.CutSuffix(name, "}")
		}
		if !ok {
			b.WriteString("/" + escape(segment))
			continue
		}
		name, greedy := strings.CutSuffix(name, "+")
		parts := []string{e.PathParameters[name]}
		if greedy {
			parts = strings.Split(parts[0], "/")
		}
		for _, part := range parts {
			if part == "" {
				return "", false
			}
			b.WriteString("/" + escape(part))
		}
	}
	return b.String(), true
}

// escape makes s one segment of a path, also when it is "." or "..", which a
// mux would otherwise resolve.
func escape(s string) string {
	if s == "." || s == ".." {
		return strings.ReplaceAll(s, ".", "%2E")
	}
	return url.PathEscape(s)
}

type callerKey struct{}

// Caller is the IAM principal that signed the request, as the gateway's IAM
// authorizer named it; ok is false where none did. A session of an assumed
// role is given as its role, without the path that STS leaves out:
// arn:aws:sts::111122223333:assumed-role/backend/i-07 becomes
// arn:aws:iam::111122223333:role/backend.
//
// Nothing a client can write becomes the caller. Who may invoke the function
// itself (lambda:InvokeFunction) can claim to be anybody.
func Caller(ctx context.Context) (arn string, ok bool) {
	arn, ok = ctx.Value(callerKey{}).(string)
	return arn, ok
}

// role is the principal behind a caller's ARN.
func role(arn string) (string, bool) {
	p := strings.SplitN(arn, ":", 6)
	if len(p) != 6 || p[0] != "arn" || p[4] == "" || p[5] == "" {
		return "", false
	}
	name, ok := strings.CutPrefix(p[5], "assumed-role/")
	if !ok {
		return arn, true
	}
	name, session, ok := strings.Cut(name, "/")
	if p[2] != "sts" || !ok || name == "" || session == "" {
		return "", false
	}
	return "arn:" + p[1] + ":iam::" + p[4] + ":role/" + name, true
}
