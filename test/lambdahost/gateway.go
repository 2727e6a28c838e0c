package lambdahost

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Limits of an HTTP API.
//
// https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-quotas.html
const (
	maxRequestHead = 10240
	maxRequestBody = 10 << 20
)

// Gateway is an HTTP API: an http.Handler before functions. Its fields are
// set before its first request.
type Gateway struct {
	Routes []Route
	// Stage is the stage's name; "" is $default. A named one begins every path, as on AWS.
	Stage string
	// Mapping is the key of the API mapping that requests come by; it too begins every path.
	Mapping  string
	Callers  map[string]string // access key id -> ARN of its principal
	Throttle bool
	Now      func() time.Time // nil: time.Now

	mu       sync.Mutex
	buckets  map[string]*bucket
	verdicts map[string]verdict
}

// Route is one route of an HTTP API.
type Route struct {
	Key         string // "GET /members/{id}", "ANY /login", "$default"
	Function    Invoker
	IAM         bool        // signed requests only
	Authorizer  *Authorizer // nil: none
	Timeout     time.Duration
	Rate, Burst int // requests a second, and at once; 0: no limit

	function string
}

// Authorizer is a Lambda authorizer: payload 2.0, simple responses.
type Authorizer struct {
	Function Invoker
	// Sources are identity sources such as $request.header.Authorization. A
	// request without one of them is a 401 and no call.
	Sources []string
	TTL     time.Duration // how long an answer is kept for the same sources; 0: not at all
}

type verdict struct {
	allowed bool
	context map[string]any
	until   time.Time
}

type bucket struct {
	tokens float64
	at     time.Time
}

func (g *Gateway) now() time.Time {
	if g.Now == nil {
		return time.Now()
	}
	return g.Now()
}

// ServeHTTP does what API Gateway does between a client and a function.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := newRequestID()
	w.Header().Set("Apigw-Requestid", id)
	refuse := func(status int, message string) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"message":%q}`, message)
	}
	if headSize(r) > maxRequestHead {
		refuse(http.StatusRequestHeaderFieldsTooLarge, "Request Header Fields Too Large")
		return
	}
	path := r.URL.EscapedPath()
	prefix := ""
	for _, part := range []string{g.Mapping, g.Stage} {
		if part == "" || part == "$default" {
			continue
		}
		rest, ok := strings.CutPrefix(path, "/"+part)
		if !ok || rest != "" && rest[0] != '/' {
			refuse(http.StatusNotFound, "Not Found")
			return
		}
		prefix, path = prefix+"/"+part, rest
	}
	route, parameters := g.match(r.Method, path)
	if route == nil {
		refuse(http.StatusNotFound, "Not Found")
		return
	}
	if !g.admit(route) {
		refuse(http.StatusTooManyRequests, "Too Many Requests")
		return
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxRequestBody+1))
	if err != nil {
		return
	}
	if len(body) > maxRequestBody {
		refuse(http.StatusRequestEntityTooLarge, "Request Entity Too Large")
		return
	}
	e := g.event(r, route, parameters, prefix+path, body, id)
	if status, message := g.authorize(r, route, e); status != 0 {
		refuse(status, message)
		return
	}
	payload, err := json.Marshal(e)
	if err != nil || len(payload) > maxPayload {
		refuse(http.StatusRequestEntityTooLarge, "Request Entity Too Large")
		return
	}
	timeout := route.Timeout
	if timeout == 0 {
		timeout = 30 * time.Second
	}
	ctx, cancel := context.WithTimeout(r.Context(), timeout)
	defer cancel()
	result, err := route.Function.Invoke(ctx, payload)
	switch {
	case errors.Is(err, ErrThrottled), errors.Is(err, context.DeadlineExceeded):
		refuse(http.StatusServiceUnavailable, "Service Unavailable")
	case err != nil || result.FunctionError != "":
		refuse(http.StatusInternalServerError, "Internal Server Error")
	default:
		if !reply(w, r, result.Payload) {
			refuse(http.StatusInternalServerError, "Internal Server Error")
		}
	}
}

// headSize is what the gateway counts: the request line and all headers.
func headSize(r *http.Request) int {
	n := len(r.Method) + len(r.RequestURI) + len(r.Proto) + 4 + len("Host: \r\n") + len(r.Host)
	for name, values := range r.Header {
		for _, v := range values {
			n += len(name) + len(v) + 4
		}
	}
	return n
}

// match finds the route: one without a variable before one with, a method
// before ANY, a greedy variable after that, $default last.
func (g *Gateway) match(method, path string) (*Route, map[string]string) {
	var best *Route
	var parameters map[string]string
	score := -1
	for i := range g.Routes {
		rt := &g.Routes[i]
		if rt.Key == "$default" {
			if score < 0 {
				best, parameters, score = rt, nil, 0
			}
			continue
		}
		m, pattern, _ := strings.Cut(rt.Key, " ")
		if m != method && m != "ANY" {
			continue
		}
		p, points, ok := matchPath(pattern, path)
		if m != "ANY" {
			points++
		}
		if ok && points > score {
			best, parameters, score = rt, p, points
		}
	}
	return best, parameters
}

func matchPath(pattern, path string) (parameters map[string]string, points int, ok bool) {
	want, got := strings.Split(pattern, "/"), strings.Split(path, "/")
	points = 1000
	for i, w := range want {
		name, variable := strings.CutPrefix(w, "{")
		name = strings.TrimSuffix(name, "}")
		switch {
		case i >= len(got):
			return nil, 0, false
		case variable && strings.HasSuffix(name, "+"):
			v, err := url.PathUnescape(strings.Join(got[i:], "/"))
			if err != nil || v == "" {
				return nil, 0, false
			}
			if parameters == nil {
				parameters = map[string]string{}
			}
			parameters[strings.TrimSuffix(name, "+")] = v
			return parameters, points - 500, true
		case variable:
			v, err := url.PathUnescape(got[i])
			if err != nil || v == "" {
				return nil, 0, false
			}
			if parameters == nil {
				parameters = map[string]string{}
			}
			parameters[name] = v
			points -= 10
		case w != got[i]:
			return nil, 0, false
		}
	}
	return parameters, points, len(want) == len(got)
}

// admit is the route's token bucket.
func (g *Gateway) admit(rt *Route) bool {
	if !g.Throttle || rt.Rate == 0 {
		return true
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	b := g.buckets[rt.Key]
	if b == nil {
		if g.buckets == nil {
			g.buckets = map[string]*bucket{}
		}
		b = &bucket{float64(rt.Burst), now}
		g.buckets[rt.Key] = b
	}
	b.tokens = min(float64(rt.Burst), b.tokens+now.Sub(b.at).Seconds()*float64(rt.Rate))
	b.at = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

// plain are the types whose bodies a function gets as text. All others, forms
// and a missing type among them, come in base64.
var plain = []string{"application/json", "application/xml", "application/javascript"}

// event is the request as payload 2.0. Names are lower case; duplicates are
// joined by commas in the maps; cookies stand in an array and no header.
func (g *Gateway) event(r *http.Request, rt *Route, parameters map[string]string, rawPath string, body []byte, id string) map[string]any {
	ip, _, _ := net.SplitHostPort(r.RemoteAddr)
	now := g.now().UTC()
	headers := map[string]string{"host": r.Host}
	for name, values := range r.Header {
		if name != "Cookie" {
			headers[strings.ToLower(name)] = strings.Join(values, ",")
		}
	}
	headers["x-forwarded-for"] = strings.TrimPrefix(headers["x-forwarded-for"]+", "+ip, ", ")
	headers["x-forwarded-proto"], headers["x-forwarded-port"] = "https", "443"
	headers["x-amzn-trace-id"] = "Root=1-" + strconv.FormatInt(now.Unix(), 16) + "-" + strings.ReplaceAll(id, "-", "")[:24]
	headers["content-length"] = strconv.Itoa(len(body))
	decoded, err := url.PathUnescape(rawPath)
	if err != nil {
		decoded = rawPath
	}
	stage := g.Stage
	if stage == "" {
		stage = "$default"
	}
	domain, _, _ := strings.Cut(r.Host, ":")
	label, _, _ := strings.Cut(domain, ".")
	e := map[string]any{
		"version": "2.0", "routeKey": rt.Key, "rawPath": decoded, "rawQueryString": r.URL.RawQuery, "headers": headers,
		"requestContext": map[string]any{
			"accountId": "111122223333", "apiId": "lambdahost", "domainName": domain, "domainPrefix": label,
			"http":      map[string]any{"method": r.Method, "path": decoded, "protocol": r.Proto, "sourceIp": ip, "userAgent": r.UserAgent()},
			"requestId": id, "routeKey": rt.Key, "stage": stage,
			"time": now.Format("02/Jan/2006:15:04:05 +0000"), "timeEpoch": now.UnixMilli(),
		},
		"isBase64Encoded": false,
	}
	if cookies := r.Header.Values("Cookie"); len(cookies) > 0 {
		var list []string
		for c := range strings.SplitSeq(strings.Join(cookies, ";"), ";") {
			if c = strings.TrimSpace(c); c != "" {
				list = append(list, c)
			}
		}
		e["cookies"] = list
	}
	if q := r.URL.Query(); len(q) > 0 {
		joined := map[string]string{}
		for name, values := range q {
			joined[name] = strings.Join(values, ",")
		}
		e["queryStringParameters"] = joined
	}
	if len(parameters) > 0 {
		e["pathParameters"] = parameters
	}
	if len(body) > 0 {
		kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
		if strings.HasPrefix(kind, "text/") || slices.Contains(plain, kind) {
			e["body"] = string(body)
		} else {
			e["body"], e["isBase64Encoded"] = base64.StdEncoding.EncodeToString(body), true
		}
	}
	return e
}

var signature = regexp.MustCompile(`^AWS4-HMAC-SHA256 Credential=([A-Z0-9]{16,128})/\d{8}/[a-z0-9-]+/execute-api/aws4_request, ?SignedHeaders=[a-z0-9;-]*host[a-z0-9;-]*, ?Signature=[0-9a-f]{64}$`)

// authorize adds the caller to the event, or says with what to refuse it.
func (g *Gateway) authorize(r *http.Request, rt *Route, e map[string]any) (int, string) {
	requestContext := e["requestContext"].(map[string]any)
	if rt.IAM {
		m := signature.FindStringSubmatch(r.Header.Get("Authorization"))
		if m == nil || g.Callers[m[1]] == "" {
			return http.StatusForbidden, "Forbidden"
		}
		requestContext["authorizer"] = map[string]any{"iam": map[string]any{
			"accessKey": m[1], "accountId": "111122223333", "callerId": "AROALAMBDAHOST:session", "cognitoIdentity": nil,
			"principalOrgId": "o-lambdahost", "userArn": g.Callers[m[1]], "userId": "AROALAMBDAHOST:session",
		}}
		return 0, ""
	}
	if rt.Authorizer == nil {
		return 0, ""
	}
	var identity []string
	for _, source := range rt.Authorizer.Sources {
		v := g.identity(r, rt, source)
		if v == "" {
			return http.StatusUnauthorized, "Unauthorized"
		}
		identity = append(identity, v)
	}
	key := fmt.Sprintf("%p%q", rt.Authorizer, identity)
	g.mu.Lock()
	known, ok := g.verdicts[key]
	g.mu.Unlock()
	if !ok || !known.until.After(g.now()) {
		v, ok := g.ask(r.Context(), rt, e, identity)
		if !ok {
			return http.StatusInternalServerError, "Internal Server Error"
		}
		known = v
		if rt.Authorizer.TTL > 0 {
			known.until = g.now().Add(rt.Authorizer.TTL)
			g.mu.Lock()
			if g.verdicts == nil {
				g.verdicts = map[string]verdict{}
			}
			g.verdicts[key] = known
			g.mu.Unlock()
		}
	}
	if !known.allowed {
		return http.StatusForbidden, "Forbidden"
	}
	requestContext["authorizer"] = map[string]any{"lambda": known.context}
	return 0, ""
}

func (g *Gateway) identity(r *http.Request, rt *Route, source string) string {
	if name, ok := strings.CutPrefix(source, "$request.header."); ok {
		return strings.Join(r.Header.Values(name), ",")
	}
	if name, ok := strings.CutPrefix(source, "$request.querystring."); ok {
		return strings.Join(r.URL.Query()[name], ",")
	}
	if source == "$context.routeKey" {
		return rt.Key
	}
	return ""
}

// ask calls the authorizer's function; ok is false for an error and for an
// answer that is no simple response.
func (g *Gateway) ask(ctx context.Context, rt *Route, e map[string]any, identity []string) (verdict, bool) {
	ask := maps.Clone(e)
	delete(ask, "body")
	delete(ask, "isBase64Encoded")
	ask["type"], ask["identitySource"] = "REQUEST", identity
	method := e["requestContext"].(map[string]any)["http"].(map[string]any)["method"]
	ask["routeArn"] = fmt.Sprintf("arn:aws:execute-api:us-east-1:111122223333:lambdahost/$default/%s%s", method, e["rawPath"])
	payload, err := json.Marshal(ask)
	if err != nil {
		return verdict{}, false
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	result, err := rt.Authorizer.Function.Invoke(ctx, payload)
	if err != nil || result.FunctionError != "" {
		return verdict{}, false
	}
	var answer struct {
		IsAuthorized *bool          `json:"isAuthorized"`
		Context      map[string]any `json:"context"`
	}
	if json.Unmarshal(result.Payload, &answer) != nil || answer.IsAuthorized == nil {
		return verdict{}, false
	}
	return verdict{allowed: *answer.IsAuthorized, context: answer.Context}, true
}

// reply sends a response of payload 2.0. One without statusCode is a body
// with 200, as on AWS; false: it is not JSON at all, or broken.
func reply(w http.ResponseWriter, r *http.Request, payload []byte) bool {
	var a struct {
		StatusCode      int            `json:"statusCode"`
		Headers         map[string]any `json:"headers"`
		Cookies         []string       `json:"cookies"`
		Body            string         `json:"body"`
		IsBase64Encoded bool           `json:"isBase64Encoded"`
	}
	if !json.Valid(payload) {
		return false
	}
	if json.Unmarshal(payload, &a) != nil || a.StatusCode == 0 {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(bytes.TrimSpace(payload))
		return true
	}
	body := []byte(a.Body)
	if a.IsBase64Encoded {
		var err error
		if body, err = base64.StdEncoding.DecodeString(a.Body); err != nil {
			return false
		}
	}
	if a.StatusCode < 200 || a.StatusCode > 599 {
		return false
	}
	for name, v := range a.Headers {
		w.Header().Set(name, fmt.Sprint(v))
	}
	for _, c := range a.Cookies {
		w.Header().Add("Set-Cookie", c)
	}
	if w.Header().Get("Content-Type") == "" && len(body) > 0 {
		w.Header().Set("Content-Type", "text/plain;charset=UTF-8")
	}
	w.WriteHeader(a.StatusCode)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body)
	}
	return true
}

// Sign makes r look signed by an access key, well enough for this gateway.
func Sign(r *http.Request, accessKey string) {
	sum := sha256.Sum256([]byte(accessKey + r.URL.String()))
	r.Header.Set("X-Amz-Date", "20260310T134032Z")
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+accessKey+"/20260310/us-east-1/execute-api/aws4_request, SignedHeaders=host;x-amz-date, Signature="+hex.EncodeToString(sum[:]))
}
