package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/keepin/keepin/client"
)

// keepin plays keepin: it answers as told, and counts.
type keepin struct {
	*httptest.Server
	calls  atomic.Int64
	mu     sync.Mutex
	asked  []string
	answer func(w http.ResponseWriter)
}

func serve(t *testing.T) *keepin {
	t.Helper()
	k := &keepin{answer: gives("a-token", time.Now().Add(60*24*time.Hour))}
	k.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := k.calls.Add(1)
		k.mu.Lock()
		k.asked = append(k.asked, r.Method+" "+r.URL.RequestURI()+" "+r.Header.Get("Authorization"))
		answer := k.answer
		k.mu.Unlock()
		if n > 1000 {
			t.Error("it never stops asking")
		}
		answer(w)
	}))
	t.Cleanup(k.Close)
	return k
}

func gives(token string, end time.Time) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		_ = json.NewEncoder(w).Encode(map[string]any{"access_token": token, "token_type": "Bearer", "expires_at": end, "scopes": []string{"openid"}})
	}
}

func fails(status int, body string, headers ...string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		for i := 0; i+1 < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}

func (k *keepin) client(t *testing.T, change func(*client.Config)) *client.Client {
	t.Helper()
	c := client.Config{BaseURL: k.URL + "/auth", HTTP: &http.Client{Transport: client.BearerKey("the-key", nil), Timeout: 5 * time.Second}}
	if change != nil {
		change(&c)
	}
	made, err := client.New(c)
	must(t, err)
	return made
}

func TestEachAnswerIsASentinel(t *testing.T) {
	k := serve(t)
	c := k.client(t, nil)
	for _, tt := range []struct {
		answer func(http.ResponseWriter)
		want   error
		login  bool
		retry  time.Duration
	}{
		{fails(404, `{"code":"not_connected"}`), client.ErrNotConnected, true, 0},
		{fails(409, `{"code":"reconnect_required"}`), client.ErrReconnectRequired, true, 0},
		{fails(503, `{"code":"try_again"}`, "Retry-After", "7"), client.ErrTryAgain, false, 7 * time.Second},
		{fails(503, `{"message":"Service Unavailable"}`), client.ErrTryAgain, false, time.Second},
		{fails(429, `{"message":"Too Many Requests"}`), client.ErrTryAgain, false, time.Second},
		{fails(504, `<html>`), client.ErrTryAgain, false, time.Second},
		{fails(401, `{"code":"unauthorized"}`), client.ErrUnauthorized, false, 0},
		{fails(403, `{"message":"Forbidden"}`), client.ErrUnauthorized, false, 0},
		{fails(404, `{"code":"not_found"}`), nil, false, 0}, // another address: no member has gone
		{fails(400, `{"code":"bad_request"}`), nil, false, 0},
		{fails(500, `{"code":"internal"}`), nil, false, 0},
		{fails(302, ``, "Location", "/elsewhere"), nil, false, 0},
	} {
		k.answer = tt.answer
		_, err := c.Token(t.Context(), "m")
		e, ok := errors.AsType[*client.Error](err)
		if !ok {
			t.Errorf("%v: not an *Error", err)
			continue
		}
		for _, sentinel := range []error{client.ErrNotConnected, client.ErrReconnectRequired, client.ErrTryAgain, client.ErrUnauthorized} {
			if is := errors.Is(err, sentinel); is != (tt.want == sentinel) {
				t.Errorf("%v is %v: %t", err, sentinel, is)
			}
		}
		if (e.LoginURL == k.URL+"/auth/login") != tt.login || e.RetryAfter != tt.retry {
			t.Errorf("%v: login %q, retry after %v", err, e.LoginURL, e.RetryAfter)
		}
	}
}

// TestATokenIsKeptOnlyAsLongAsItWasAskedFor: the time it is kept is asked for on
// top, so that the last caller has as much as the first was promised.
func TestATokenIsKeptOnlyAsLongAsItWasAskedFor(t *testing.T) {
	k := serve(t)
	ctx := t.Context()
	for _, tt := range []struct {
		keep time.Duration
		want string
		asks int64
	}{{0, "min_seconds=60", 5}, {30 * time.Second, "min_seconds=90", 1}, {1500 * time.Millisecond, "min_seconds=62", 1}} {
		k.calls.Store(0)
		k.asked = nil
		source := k.client(t, func(c *client.Config) { c.Keep = tt.keep }).TokenSource(ctx, "m/1")
		hc := oauth2.NewClient(ctx, source) // wraps it once more
		api := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "Bearer a-token" {
				t.Error(r.Header)
			}
		}))
		for range 5 {
			res, err := hc.Get(api.URL)
			must(t, err)
			_ = res.Body.Close()
		}
		api.Close()
		if n := k.calls.Load(); n != tt.asks || k.asked[0] != "GET /auth/members/m%2F1/token?"+tt.want+" Bearer the-key" {
			t.Errorf("kept for %v: %d calls, the first %q", tt.keep, n, k.asked[0])
		}
	}
	// And no longer: by a clock that is an hour behind, it is over at once.
	k.calls.Store(0)
	late := k.client(t, func(c *client.Config) {
		c.Keep, c.Now = 30*time.Second, func() time.Time { return time.Now().Add(-31 * time.Second) }
	}).TokenSource(ctx, "m")
	for range 3 {
		_, err := late.Token()
		must(t, err)
	}
	if n := k.calls.Load(); n != 3 {
		t.Errorf("%d calls for 3 tokens whose time was over", n)
	}
}

func TestATokenSaysWhenLinkedInEndsIt(t *testing.T) {
	k := serve(t)
	end := time.Now().Add(24 * time.Hour).UTC().Truncate(time.Second)
	k.answer = gives("a-token", end)
	got, err := k.client(t, nil).Token(t.Context(), "m")
	must(t, err)
	if at, _ := got.Extra("expires_at").(time.Time); !at.Equal(end) || fmt.Sprint(got.Extra("scopes")) != "[openid]" || got.TokenType != "Bearer" {
		t.Errorf("got %v %v %v", got.Extra("expires_at"), got.Extra("scopes"), got.TokenType)
	}
}

func TestManyCallersOfAMemberAskOnce(t *testing.T) {
	k := serve(t)
	source := k.client(t, func(c *client.Config) { c.Keep = time.Minute }).TokenSource(t.Context(), "m")
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if _, err := source.Token(); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := k.calls.Load(); n != 1 {
		t.Errorf("%d calls", n)
	}
}

func TestNoErrorHoldsATokenOrTheKey(t *testing.T) {
	k := serve(t)
	c := k.client(t, nil)
	for _, body := range []string{`{"access_token":"a-token"}`, `{"access_token":"a-token","expires_at":7}`, `"a-token"`, `a-token`, ``} {
		k.answer = fails(200, body)
		if got, err := c.Token(t.Context(), "m"); err == nil || strings.Contains(fmt.Sprintf("%+v", err), "a-token") {
			t.Errorf("%s: got %v, %v", body, got, err)
		}
	}
	k.Close()
	if _, err := c.Token(t.Context(), "m"); err == nil || strings.Contains(err.Error(), "the-key") {
		t.Errorf("got %v", err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Token(gone, "m"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestAWrongConfigMakesNoClient(t *testing.T) {
	hc := &http.Client{}
	for name, c := range map[string]client.Config{
		"nothing":       {HTTP: hc},
		"no host":       {BaseURL: "members", HTTP: hc},
		"a query":       {BaseURL: "https://a.example/?x=1", HTTP: hc},
		"no client":     {BaseURL: "https://a.example"},
		"kept too long": {BaseURL: "https://a.example", HTTP: hc, Keep: 24 * time.Hour},
		"negative":      {BaseURL: "https://a.example", HTTP: hc, Keep: -time.Second},
	} {
		if _, err := client.New(c); err == nil {
			t.Errorf("%s: made", name)
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
