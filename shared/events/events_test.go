package events_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/keepin/keepin/shared/events"
	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/test/aws/awstest"
)

const base = "https://app.example.com/auth"

var at = time.Date(2026, 3, 10, 14, 40, 32, 0, time.FixedZone("CET", 3600))

func TestEventsAreCloudEvents(t *testing.T) {
	const head = `{"specversion":"1.0","id":"e1","source":"https://app.example.com/auth","type":"`
	const when = `"time":"2026-03-10T13:40:32Z"`
	const json = `,"datacontenttype":"application/json","data":`
	for _, tt := range []struct {
		event keeper.Event
		want  string
	}{
		{keeper.Event{Type: keeper.MemberConnected, Subject: "m"}, `keepin.member.connected","subject":"m",` + when + `}`},
		{keeper.Event{Type: keeper.MemberSignedOut, Subject: "m"}, `keepin.member.signed_out","subject":"m",` + when + `}`},
		{keeper.Event{Type: keeper.MemberReconnectDue, Subject: "m", Days: 7, ReconnectBy: at.Add(time.Hour)},
			`keepin.member.reconnect_due","subject":"m",` + when + json + `{"days":7,"reconnect_by":"2026-03-10T14:40:32Z","link":"https://app.example.com/auth/login?renew=1"}}`},
		{keeper.Event{Type: keeper.MemberReconnectRequired, Subject: "m", Reason: "revoked"},
			`keepin.member.reconnect_required","subject":"m",` + when + json + `{"reason":"revoked","link":"https://app.example.com/auth/login"}}`},
		{keeper.Event{Type: keeper.IncidentOpened, Subject: "i", Reason: "outage"}, `keepin.incident.opened","subject":"i",` + when + json + `{"reason":"outage"}}`},
	} {
		tt.event.ID, tt.event.At = "e1", at
		got, err := events.Encode(base, tt.event)
		if err != nil || string(got) != head+tt.want {
			t.Errorf("got  %s, %v\nwant %s", got, err, head+tt.want)
		}
	}
}

// bus is a Bus whose EventBridge answers as given, and the last request it got.
func bus(t *testing.T, status int, answer string) (events.Bus, *string) {
	t.Helper()
	var got string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got = r.Header.Get("X-Amz-Target") + " " + string(b)
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		w.WriteHeader(status)
		io.WriteString(w, answer)
	}))
	t.Cleanup(s.Close)
	client := events.NewClient(aws.Config{BaseEndpoint: &s.URL, Region: "eu-central-1", Credentials: awstest.Credentials()})
	return events.Bus{Client: client, Name: "arn:aws:events:eu-central-1:111122223333:event-bus/keepin", BaseURL: base}, &got
}

func TestTheBusGetsTheCloudEvent(t *testing.T) {
	b, got := bus(t, 200, `{"FailedEntryCount":0,"Entries":[{"EventId":"x"}]}`)
	e := keeper.Event{ID: "e1", Type: keeper.MemberConnected, Subject: "m", At: at}
	if err := b.Send(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	target, body, _ := strings.Cut(*got, " ")
	var in struct {
		Entries []struct{ EventBusName, Source, DetailType, Detail string }
	}
	if err := json.Unmarshal([]byte(body), &in); err != nil || len(in.Entries) != 1 {
		t.Fatalf("%v: %s", err, body)
	}
	want, _ := events.Encode(base, e)
	if x := in.Entries[0]; target != "AWSEvents.PutEvents" || x.EventBusName != b.Name || x.Source != "keepin" || x.DetailType != "keepin.member.connected" || x.Detail != string(want) {
		t.Errorf("got %s", *got)
	}
}

func TestARefusedEventIsAnError(t *testing.T) {
	e := keeper.Event{ID: "e1", Type: keeper.MemberConnected, Subject: "m", At: at}
	for _, tt := range []struct {
		status int
		answer string
	}{
		{200, `{"FailedEntryCount":1,"Entries":[{"ErrorCode":"ThrottlingException","ErrorMessage":"text"}]}`},
		{200, `{"FailedEntryCount":1,"Entries":[]}`},
		{500, `{}`},
		{400, `{"__type":"AccessDeniedException"}`},
	} {
		b, _ := bus(t, tt.status, tt.answer)
		if err := b.Send(t.Context(), e); err == nil {
			t.Errorf("%d %s: no error", tt.status, tt.answer)
		}
	}
}
