package dynamo_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/keepin/keepin/shared/dynamo"
	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/session"
	"github.com/keepin/keepin/test/aws/awstest"
	"github.com/keepin/keepin/test/bounds"
)

// FuzzItem: whatever DynamoDB answers with, a read gives what is there, or an error
// that quotes none of it; and what was read is stored and read again as it was.
func FuzzItem(f *testing.F) {
	const key = `"pk":{"S":"M#0123456789abcdefghijkl"},"sk":{"S":"A"},"v":{"N":"1"}`
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	whole := recorded(f, now)
	for _, i := range append(whole,
		`{`+key+`}`, `{`+key+`,"r":{"S":"1"},"su":{"S":"x"},"sc":{"L":[{"S":"openid"},{"N":"1"}]}}`, `{`+key+`,"ab":{"S":"no bytes"}}`, `{`+key+`,"dt":{"N":"9223372036854775807"},"e":{"N":"-9223372036854775808"}}`,
		`{`+key+`,"dt":{"N":"1e300"}}`, `{`+key+`,"dt":{"N":""}}`, `{`+key+`,"oe":{"L":[{"M":{"i":{"S":"1"}}},{"NULL":true}]}}`, `{`+key+`,"oi":{"M":{}}}`, `{`+key+`,"e":{"N":"1"}}`,
		`{"v":{"N":"2"}}`, `{"v":{"S":"1"}}`, `{}`, `{`+key+`,"u":{"B":"AAAA"},"x":{"BOOL":true},"y":{"SS":["a"]},"z":{"NULL":true}}`, `{`+key+`,"rec":{"L":[{"M":{"qh":{"M":{"a":{"N":"1"}}}}}]}}`) {
		f.Add([]byte(`{"Item":` + i + `,"Items":[` + i + `,` + i + `]}`))
	}
	f.Add([]byte(`{"Items":[` + strings.Join(whole, ",") + `]}`))
	for _, s := range []string{``, `{}`, `[]`, `{"Item":null,"Items":null}`, `{"Items":[null]}`, `{"Items":[{"pk":null}]}`, `{"Item":{"v":{}}}`, `{"Item":{"v":{"Q":"1"}}}`, `<html>`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		w := &wire{answer: answer}
		db := w.open(t, now)
		id, h := keeper.MemberID("0123456789abcdefghijkl"), session.Hash{1}
		var g keeper.Grant
		errs := map[string]error{}
		bounds.Check(t, func() {
			if g, errs["get"] = db.Get(t.Context(), id); !json.Valid(answer) {
				return // each call asks three times, and waits in between
			}
			_, _, errs["look"] = db.Look(t.Context(), id, h)
			_, _, errs["all"] = db.All(t.Context(), id)
			_, errs["control"] = db.Control(t.Context())
			_, errs["incidents"] = db.Incidents(t.Context(), now.Add(-time.Hour))
			_, errs["due"] = db.Due(t.Context(), 0, keeper.Nominee{}, now, 3)
		})
		for what, err := range errs {
			if err != nil && !errors.Is(err, keeper.ErrNotFound) && !errors.Is(err, session.ErrNone) && !strings.HasPrefix(err.Error(), "dynamo: ") {
				t.Errorf("%s: %v", what, err)
			}
		}
		if errs["get"] != nil || g.Rev == "" {
			return
		}
		if err := db.Put(t.Context(), g, "old"); err != nil {
			t.Fatal(err)
		}
		w.answer = []byte(`{"Item":` + string(w.put) + `}`)
		again, err := db.Get(t.Context(), id)
		g.Member, again.Member = "", "" // of the key, which Get was given
		if err != nil || !reflect.DeepEqual(again, g) {
			t.Errorf("%s was read as %+v and, stored, as %+v, %v", answer, g, again, err)
		}
	})
}

// wire is a DynamoDB of one answer, which keeps what is put.
type wire struct {
	answer []byte
	put    json.RawMessage
}

func (w *wire) open(t testing.TB, now time.Time) *dynamo.Table {
	t.Helper()
	db, err := dynamo.Open(dynamo.Config{
		Table: "t", Region: awstest.Region, Credentials: awstest.Credentials(), Now: func() time.Time { return now },
		Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			body := w.answer
			if strings.HasSuffix(r.Header.Get("X-Amz-Target"), ".PutItem") {
				var in struct{ Item json.RawMessage }
				if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
					return nil, err
				}
				w.put, body = in.Item, []byte(`{}`)
			}
			return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(body)), Request: r}, nil
		}),
	})
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// recorded are items as the table writes them.
func recorded(t testing.TB, now time.Time) (items []string) {
	t.Helper()
	w := new(wire)
	db := w.open(t, now)
	token := keeper.Token{Sealed: []byte("sealed"), IssuedAt: now, ExpiresAt: now.Add(time.Hour), ProvenAt: now, RefusedAt: now}
	event := keeper.Event{ID: "1", Type: keeper.MemberConnected, Subject: "x", At: now, Days: 3, ReconnectBy: now, Reason: "x"}
	for _, put := range []func() error{
		func() error {
			return db.Put(t.Context(), keeper.Grant{
				Member: "0123456789abcdefghijkl", Rev: "1", Subject: "x", Profile: keeper.Profile{Name: "A", Picture: "p", Email: "e"}, Generation: "g", Status: keeper.Active,
				Scopes: []string{"email", "openid"}, Access: token, Fresh: token, Refresh: token, Lease: keeper.Lease{ID: "l", Until: now},
				Trouble: keeper.Trouble{Class: keeper.ClassBusy, Count: 1, Since: now, At: now, RetryAt: now}, VerifiedAt: now, CheckedAt: now,
				Announced: keeper.Notice{Days: 7, Deadline: now}, Outbox: keeper.Outbox{Count: 1, RetryAt: now, Events: []keeper.Event{event}}, Due: now, ExpiresAt: now.Add(time.Hour),
			}, "")
		},
		func() error {
			return db.PutControl(t.Context(), keeper.Control{Rev: "1", PausedAt: now, Breaker: keeper.Breaker{Class: keeper.ClassBusy, Since: now, Until: now, Count: 2},
				Open: []keeper.OpenIncident{{ID: "1", Cause: "busy", Since: now, Records: 1}}, Untold: []keeper.Event{event}}, "")
		},
		func() error {
			return db.PutIncident(t.Context(), keeper.Incident{ID: "1", Cause: "busy", OpenedAt: now, Records: []keeper.Record{{Operation: "refresh", At: now, Took: time.Second, Status: 429, RequestHeaders: map[string]string{"a": "b"}}}})
		},
		func() error {
			return db.Settle(t.Context(), session.Hash{1}, session.Burn{Use: session.Hash{2}, At: now, ExpiresAt: now.Add(time.Hour), Settled: true, Member: "m", Outcome: "signed_in"})
		},
	} {
		if err := put(); err != nil {
			t.Fatal(err)
		}
		items = append(items, string(w.put))
	}
	return items
}
