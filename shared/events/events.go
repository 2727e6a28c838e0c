// Package events tells the application what happened, as CloudEvents 1.0.
package events

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/keepin/keepin/shared/keeper"
)

// cloudEvent is an event in structured JSON.
//
// https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md
type cloudEvent struct {
	SpecVersion     string           `json:"specversion"`
	ID              string           `json:"id"`
	Source          string           `json:"source"` // keepin's base URL
	Type            keeper.EventType `json:"type"`
	Subject         string           `json:"subject,omitempty"` // the member id, or the incident's
	Time            time.Time        `json:"time"`
	DataContentType string           `json:"datacontenttype,omitempty"`
	Data            *data            `json:"data,omitempty"`
}

type data struct {
	Days        int       `json:"days,omitempty"`
	ReconnectBy time.Time `json:"reconnect_by,omitzero"`
	Reason      string    `json:"reason,omitempty"`
	Link        string    `json:"link,omitempty"` // where the member renews the grant
}

// Encode is e as one CloudEvent of the keepin at baseURL. A member who must
// sign in gets the link to it: while the grant lives, one that asks LinkedIn
// even so.
func Encode(baseURL string, e keeper.Event) ([]byte, error) {
	d := data{Days: e.Days, ReconnectBy: e.ReconnectBy.UTC(), Reason: e.Reason}
	switch e.Type {
	case keeper.MemberReconnectDue:
		d.Link = baseURL + "/login?renew=1"
	case keeper.MemberReconnectRequired:
		d.Link = baseURL + "/login"
	}
	c := cloudEvent{SpecVersion: "1.0", ID: e.ID, Source: baseURL, Type: e.Type, Subject: e.Subject, Time: e.At.UTC()}
	if d != (data{}) {
		c.DataContentType, c.Data = "application/json", &d
	}
	out, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("encode event: %w", err)
	}
	return out, nil
}
