// Package contract holds what keepin answers against docs/openapi.yaml. Tests
// put it between a client and keepin.
package contract

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
)

// Contract is docs/openapi.yaml. It is safe for concurrent use.
type Contract struct {
	doc    *openapi3.T
	router routers.Router
	every  map[string]string // headers of every answer

	mu   sync.Mutex
	seen map[string]bool // "GET /login 303" that were checked
}

// Load reads docs/openapi.yaml of the module that the test runs in. A document
// that is not valid OpenAPI, its examples included, is an error.
func Load() (*Contract, error) {
	dir, err := os.Getwd()
	if err != nil {
		return nil, fmt.Errorf("contract: %w", err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		if dir == filepath.Dir(dir) {
			return nil, errors.New("contract: no go.mod above the test")
		}
		dir = filepath.Dir(dir)
	}
	openapi3.DefineStringFormatValidator("uri", openapi3.NewRegexpFormatValidator(`^https?://[^ ]+$`))
	doc, err := openapi3.NewLoader().LoadFromFile(filepath.Join(dir, "docs", "openapi.yaml"))
	if err != nil {
		return nil, fmt.Errorf("contract: load: %w", err)
	}
	if err := doc.Validate(context.Background(), openapi3.EnableExamplesValidation()); err != nil {
		return nil, fmt.Errorf("contract: not valid: %w", err)
	}
	c := &Contract{doc: doc, every: make(map[string]string), seen: make(map[string]bool)}
	every, _ := doc.Extensions["x-every-answer"].(map[string]any)
	for name, value := range every {
		c.every[name] = fmt.Sprint(value)
	}
	if len(c.every) == 0 {
		return nil, errors.New("contract: no x-every-answer")
	}
	doc.Servers = nil // any host; the base URL's path is cut off by Check
	if c.router, err = gorillamux.NewRouter(doc); err != nil {
		return nil, fmt.Errorf("contract: route: %w", err)
	}
	return c, nil
}

// Check is nil when the answer is one that the contract has for this request:
// its status, each of its headers, and its body. prefix is the base URL's path.
// A request that was answered with less than 400 must be one that the contract
// allows, too. The bodies are read and put back.
func (c *Contract) Check(prefix string, req *http.Request, res *http.Response) error {
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	res.Body = io.NopCloser(bytes.NewReader(body))
	asked := req.Clone(context.Background())
	asked.URL.Path, asked.URL.RawPath = strings.TrimPrefix(req.URL.Path, prefix), ""
	if asked.URL.Path == "" {
		asked.URL.Path = "/"
	}
	if req.Method == http.MethodHead {
		asked.Method = http.MethodGet
	}
	what := fmt.Sprintf("%s %s answered %d", req.Method, asked.URL.Path, res.StatusCode)
	route, params, err := c.router.FindRoute(asked)
	if req.URL.Path != prefix && !strings.HasPrefix(req.URL.Path, prefix+"/") {
		err = routers.ErrPathNotFound
	}
	if err != nil {
		return c.elsewhere(what, err, res, body)
	}
	response := route.Operation.Responses.Status(res.StatusCode)
	if res.StatusCode == http.StatusMethodNotAllowed && req.Method == http.MethodHead {
		response = c.doc.Components.Responses["MethodNotAllowed"]
	}
	if response == nil {
		return fmt.Errorf("%s: the contract has no such status", what)
	}
	c.mu.Lock()
	c.seen[fmt.Sprintf("%s %s %d", asked.Method, route.Path, res.StatusCode)] = true
	c.mu.Unlock()
	options := &openapi3filter.Options{
		IncludeResponseStatus: true, AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, MultiError: true,
	}
	in := &openapi3filter.RequestValidationInput{Request: asked, PathParams: params, Route: route, Options: options}
	if res.StatusCode < 400 {
		if err := openapi3filter.ValidateRequest(context.Background(), in); err != nil {
			return fmt.Errorf("%s, but the contract refuses it: %w", what, err)
		}
	}
	if err := c.headers(response.Value, res); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if req.Method == http.MethodHead {
		return nil
	}
	return c.body(what, response.Value, res, body)
}

// elsewhere checks an answer of no operation.
func (c *Contract) elsewhere(what string, reason error, res *http.Response, body []byte) error {
	name, status := "NotFound", http.StatusNotFound
	if errors.Is(reason, routers.ErrMethodNotAllowed) {
		name, status = "MethodNotAllowed", http.StatusMethodNotAllowed
	}
	if res.StatusCode == http.StatusRequestEntityTooLarge {
		name, status = "TooLarge", res.StatusCode
	}
	if res.StatusCode != status {
		return fmt.Errorf("%s: the contract has no such operation, and so %d", what, status)
	}
	response := c.doc.Components.Responses[name].Value
	if err := c.headers(response, res); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return c.body(what, response, res, body)
}

// headers holds every header against the contract, and the contract's against
// the answer.
func (c *Contract) headers(want *openapi3.Response, res *http.Response) error {
	for name, value := range c.every {
		if _, ok := want.Headers[name]; !ok && res.Header.Get(name) != value {
			return fmt.Errorf("header %s is %q, not %q", name, res.Header.Get(name), value)
		}
	}
	for name, ref := range want.Headers {
		got := res.Header.Values(name)
		if len(got) == 0 {
			if ref.Value.Required {
				return fmt.Errorf("header %s is missing", name)
			}
			continue
		}
		var v any = got[0]
		if ref.Value.Schema.Value.Type.Is("integer") {
			if json.Unmarshal([]byte(got[0]), &v) != nil {
				return fmt.Errorf("header %s is no number", name)
			}
		}
		if err := ref.Value.Schema.Value.VisitJSON(v); err != nil {
			return fmt.Errorf("header %s: %w", name, err)
		}
	}
	known := make(map[string]bool)
	for name := range want.Headers {
		known[http.CanonicalHeaderKey(name)] = true
	}
	for name := range res.Header {
		documented := known[name]
		if _, every := c.every[name]; !documented && !every && !usual[name] {
			return fmt.Errorf("header %s is not in the contract", name)
		}
	}
	policy := res.Header.Get("Content-Security-Policy")
	rules := strings.Split(policy, "; ")
	for _, want := range []string{"default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'"} {
		if !slices.Contains(rules, want) {
			return fmt.Errorf("Content-Security-Policy is %q, without %s", policy, want)
		}
	}
	if !slices.Contains(rules, "form-action 'none'") && !slices.Contains(rules, "form-action 'self'") {
		return fmt.Errorf("Content-Security-Policy is %q: forms may go anywhere", policy)
	}
	return nil
}

// usual are headers that need no word in the contract.
var usual = map[string]bool{
	"Content-Type": true, "Content-Length": true, "Date": true, "Connection": true,
	"Content-Security-Policy": true, "Strict-Transport-Security": true,
}

// body holds the body against the schema of its media type.
func (c *Contract) body(what string, want *openapi3.Response, res *http.Response, body []byte) error {
	if len(want.Content) == 0 {
		if len(body) > 0 {
			return fmt.Errorf("%s: a body where the contract has none", what)
		}
		return nil
	}
	kind, _, err := mime.ParseMediaType(res.Header.Get("Content-Type"))
	if err != nil {
		return fmt.Errorf("%s: Content-Type %q", what, res.Header.Get("Content-Type"))
	}
	media := want.Content[kind]
	if media == nil {
		return fmt.Errorf("%s: the contract has no %s here", what, kind)
	}
	if !strings.HasSuffix(kind, "json") {
		return nil
	}
	var v any
	if err := json.Unmarshal(body, &v); err != nil {
		return fmt.Errorf("%s: the body is not JSON", what)
	}
	if err := media.Schema.Value.VisitJSON(v, openapi3.VisitAsResponse(), openapi3.EnableFormatValidation()); err != nil {
		return fmt.Errorf("%s: the body: %w", what, err)
	}
	return nil
}

// Unseen are the operations and statuses of the contract, as "GET /login 303",
// that no Check has met.
func (c *Contract) Unseen() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var unseen []string
	for path, item := range c.doc.Paths.Map() {
		for method, operation := range item.Operations() {
			for status := range operation.Responses.Map() {
				if key := method + " " + path + " " + status; !c.seen[key] {
					unseen = append(unseen, key)
				}
			}
		}
	}
	return unseen
}

// Codes are the problem codes that the contract knows.
func (c *Contract) Codes() []string {
	var codes []string
	for _, v := range c.doc.Components.Schemas["Problem"].Value.Properties["code"].Value.Enum {
		codes = append(codes, fmt.Sprint(v))
	}
	return codes
}

// Transport is next (nil: http.DefaultTransport) under the eyes of the
// contract: an answer below base, keepin's address, that breaks it fails the
// test. What goes elsewhere passes.
func (c *Contract) Transport(t testing.TB, base string, next http.RoundTripper) http.RoundTripper {
	if next == nil {
		next = http.DefaultTransport
	}
	return transport{c, t, strings.TrimSuffix(base, "/"), next}
}

type transport struct {
	*Contract
	t    testing.TB
	base string
	next http.RoundTripper
}

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	var sent []byte
	if r.Body != nil {
		var err error
		if sent, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
		_ = r.Body.Close()
		r = r.Clone(r.Context())
		r.Body = io.NopCloser(bytes.NewReader(sent))
	}
	res, err := t.next.RoundTrip(r)
	rest, ours := strings.CutPrefix(r.URL.Scheme+"://"+r.URL.Host+r.URL.Path, t.base)
	if err != nil || !ours || rest != "" && rest[0] != '/' {
		return res, err
	}
	asked := r.Clone(r.Context())
	asked.Body = io.NopCloser(bytes.NewReader(sent))
	body, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	if err != nil {
		return nil, err
	}
	res.Body = io.NopCloser(bytes.NewReader(body))
	if err := t.Check(strings.TrimSuffix(r.URL.Path, rest), asked, res); err != nil {
		t.t.Errorf("contract: %v", err)
	}
	return res, nil
}
