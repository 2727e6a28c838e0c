package console_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keepin/keepin/shared/keeper"
)

// statement is one of the policy in docs/deploy.md.
type statement struct {
	Sid, Resource string
	Action        texts
	Condition     map[string]map[string]texts
	used          map[string]bool
}

// texts is a text or a list of them.
type texts []string

func (t *texts) UnmarshalJSON(b []byte) error {
	if b[0] == '"' {
		*t = make([]string, 1)
		return json.Unmarshal(b, &(*t)[0])
	}
	return json.Unmarshal(b, (*[]string)(t))
}

// call is one to AWS: what its policy would be asked about.
type call struct {
	action     string
	keys       []string // partition keys
	attributes []string
	choose     string // Select
}

// TestThePolicyInTheDocsIsWhatTheVerbsUse runs every verb and holds each call
// to the operator's policy, and the policy to what was called.
func TestThePolicyInTheDocsIsWhatTheVerbsUse(t *testing.T) {
	page, err := os.ReadFile("../../../docs/deploy.md")
	must(t, err)
	found := regexp.MustCompile("(?s)### The operator's verbs.*?```json\n(.*?)```").FindSubmatch(page)
	if found == nil {
		t.Fatal("there is no policy in docs/deploy.md")
	}
	var policy struct{ Statement []*statement }
	must(t, json.Unmarshal(found[1], &policy))

	s := open(t)
	var mu sync.Mutex
	var calls []call
	listen := func(to string) string {
		address, err := url.Parse(to)
		must(t, err)
		proxy := httputil.NewSingleHostReverseProxy(address)
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			r.Body = io.NopCloser(bytes.NewReader(body))
			mu.Lock()
			calls = append(calls, read(t, r.Header.Get("X-Amz-Target"), body))
			mu.Unlock()
			proxy.ServeHTTP(w, r)
		}))
		t.Cleanup(server.Close)
		return server.URL
	}
	a, err := s.c.Load(t.Context())
	must(t, err)
	s.c.Endpoint, s.c.Load = listen(s.c.Endpoint), to(listen(*a.BaseEndpoint))

	s.keep("ada")
	must(t, s.table.PutIncident(t.Context(), keeper.Incident{ID: "INCIDENT0001", Cause: "application", OpenedAt: time.Now()}))
	s.ask("keys", "rotate")
	s.keep("ada")
	s.ask("keys", "list")
	s.ahead = 25 * time.Hour
	s.ask("keys", "prune")
	s.ahead = 0
	s.ask("incidents", "list")
	s.ask("incidents", "show", "INCIDENT0001")
	s.ask("pause")
	s.ask("resume")

	for _, c := range calls {
		if !slices.ContainsFunc(policy.Statement, func(p *statement) bool { return p.allows(t, c) }) {
			t.Errorf("the policy does not allow %+v", c)
		}
	}
	for _, p := range policy.Statement {
		for _, action := range p.Action {
			if !p.used[action] {
				t.Errorf("%s: %s is allowed, and nothing uses it", p.Sid, action)
			}
		}
	}
}

// read is what a request asks for.
func read(t *testing.T, target string, body []byte) call {
	var in struct {
		Key, Item, ExpressionAttributeValues map[string]struct{ S string }
		ProjectionExpression, Select         string
		FilterExpression                     string
	}
	if err := json.Unmarshal(body, &in); err != nil {
		t.Errorf("%s: %v", target, err)
	}
	service, name, _ := strings.Cut(target, ".")
	c := call{action: map[string]string{"DynamoDB_20120810": "dynamodb:"}[service] + name}
	if service == "secretsmanager" {
		c.action = service + ":" + name
	}
	for _, key := range []string{in.Key["pk"].S, in.Item["pk"].S, in.ExpressionAttributeValues[":pk"].S} {
		if key != "" {
			c.keys = append(c.keys, key)
		}
	}
	c.choose = in.Select
	if in.ProjectionExpression != "" {
		c.attributes = strings.Split(strings.ReplaceAll(in.ProjectionExpression, " ", ""), ",")
		c.attributes = append(c.attributes, strings.Fields(in.FilterExpression)[:min(1, len(in.FilterExpression))]...)
	}
	return c
}

// allows is what IAM would say, of the conditions that are in the policy.
func (p *statement) allows(t *testing.T, c call) bool {
	if !slices.Contains(p.Action, c.action) {
		return false
	}
	for operator, keys := range p.Condition {
		for key, want := range keys {
			var got []string
			switch key {
			case "dynamodb:LeadingKeys":
				got = c.keys
			case "dynamodb:Attributes":
				got = c.attributes
			case "dynamodb:Select":
				got = []string{c.choose}
			default:
				t.Errorf("the policy has a condition on %s", key)
			}
			if len(got) == 0 { // "for all" would be true of none
				return false
			}
			for _, g := range got {
				if !slices.ContainsFunc(want, func(w string) bool {
					like, _ := path.Match(w, g)
					return g == w || strings.HasSuffix(operator, "StringLike") && like
				}) {
					return false
				}
			}
		}
	}
	if p.used == nil {
		p.used = map[string]bool{}
	}
	p.used[c.action] = true
	return true
}
