package events_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keepin/keepin/shared/events"
	"github.com/keepin/keepin/shared/keeper"
)

var connected = keeper.Event{ID: "e1", Type: keeper.MemberConnected, Subject: "m", At: at}

func TestTheWebhookGetsTheCloudEvent(t *testing.T) {
	want, err := events.Encode(base, connected)
	if err != nil {
		t.Fatal(err)
	}
	for _, status := range []int{200, 201, 202, 204, 299} {
		got := ""
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			got = r.Method + " " + r.RequestURI + " " + r.Header.Get("Content-Type") + " " + string(b)
			w.WriteHeader(status)
		}))
		if err := events.NewWebhook(s.URL+"/events?key=k", base, nil).Send(t.Context(), connected); err != nil {
			t.Errorf("%d: %v", status, err)
		}
		if want := "POST /events?key=k application/cloudevents+json; charset=utf-8 " + string(want); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		s.Close()
	}
}

func TestWhatIsNoReceiptIsAnError(t *testing.T) {
	for _, status := range []int{301, 302, 303, 307, 308, 400, 404, 410, 429, 500, 503} {
		calls := 0
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			calls++
			w.Header().Set("Location", "/elsewhere")
			if r.URL.Path == "/elsewhere" {
				return
			}
			w.WriteHeader(status)
			io.WriteString(w, "CANARY")
		}))
		err := events.NewWebhook(s.URL+"/CANARY", base, nil).Send(t.Context(), connected)
		if err == nil || strings.Contains(err.Error(), "CANARY") || calls != 1 {
			t.Errorf("%d: %v, %d calls", status, err, calls)
		}
		s.Close()
	}
}

// transport is an http.RoundTripper of one func.
type transport func(*http.Request) (*http.Response, error)

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) { return t(r) }

// TestAReceiverHasFiveSeconds is deaf for ever.
func TestAReceiverHasFiveSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		deaf := transport(func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		})
		begin := time.Now()
		err := events.NewWebhook("https://a.example/CANARY", base, deaf).Send(t.Context(), connected)
		if err == nil || err.Error() != "post event: no answer in time" || time.Since(begin) != 5*time.Second {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := events.NewWebhook("https://a.example/CANARY", base, deaf).Send(ctx, connected); err == nil || err.Error() != "post event: given up" {
			t.Error(err)
		}
	})
}

func TestAnEndlessAnswerIsNotReadToItsEnd(t *testing.T) {
	read := 0
	endless := transport(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Body: io.NopCloser(reader(func(b []byte) (int, error) { read += len(b); return len(b), nil }))}, nil
	})
	if err := events.NewWebhook("https://a.example", base, endless).Send(t.Context(), connected); err != nil || read > 64<<10 {
		t.Error(err, read)
	}
}

type reader func([]byte) (int, error)

func (r reader) Read(b []byte) (int, error) { return r(b) }

func TestTheAddressIsNotInTheError(t *testing.T) {
	broken := transport(func(*http.Request) (*http.Response, error) { return nil, errors.New("CANARY") })
	for _, url := range []string{"https://a.example/?key=CANARY", "https://CANARY\x7f/", "CANARY"} {
		if err := events.NewWebhook(url, base, broken).Send(t.Context(), connected); err == nil || strings.Contains(err.Error(), "CANARY") {
			t.Errorf("%q: %v", url, err)
		}
	}
}

func TestTheLogGetsTheCloudEvent(t *testing.T) {
	var out bytes.Buffer
	if err := (events.Log{Logger: slog.New(slog.NewJSONHandler(&out, nil)), BaseURL: base}).Send(t.Context(), connected); err != nil {
		t.Fatal(err)
	}
	want, _ := events.Encode(base, connected)
	var line struct {
		Msg   string
		Event json.RawMessage
	}
	if err := json.Unmarshal(out.Bytes(), &line); err != nil || line.Msg != "event" || string(line.Event) != string(want) {
		t.Errorf("%v: %s", err, out.Bytes())
	}
}
