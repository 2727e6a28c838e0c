package events

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/keepin/keepin/shared/awsjson"
	"github.com/keepin/keepin/shared/keeper"
)

// busTimeout bounds one event with its repetitions: a bus that stalls must not
// stop a pass, which has refreshes to make.
const busTimeout = 3 * time.Second

// Bus puts events on an EventBridge bus. The CloudEvent is the detail, and its
// type the detail-type, so that rules can choose by it; the source is "keepin".
type Bus struct {
	Client  *awsjson.Client // of NewClient
	Name    string          // or ARN
	BaseURL string
}

// NewClient makes a client of EventBridge.
func NewClient(c aws.Config) *awsjson.Client {
	return awsjson.New(c, awsjson.Service{Name: "events", Target: "AWSEvents", Version: "1.1"})
}

// Send puts one event. An error means that it may or may not have arrived.
func (b Bus) Send(ctx context.Context, e keeper.Event) error {
	detail, err := Encode(b.BaseURL, e)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, busTimeout)
	defer cancel()
	type entry struct {
		EventBusName, Source, DetailType, Detail string
		Time                                     float64 // seconds since 1970
	}
	var out struct {
		FailedEntryCount int
		Entries          []struct{ ErrorCode string }
	}
	err = b.Client.Call(ctx, "PutEvents", map[string][]entry{"Entries": {{
		EventBusName: b.Name, Source: "keepin", DetailType: string(e.Type), Detail: string(detail), Time: float64(e.At.UnixMilli()) / 1000,
	}}}, &out)
	if err != nil {
		return fmt.Errorf("put event: %w", err)
	}
	if out.FailedEntryCount > 0 { // the call succeeds even so
		code := "unknown"
		if len(out.Entries) > 0 && out.Entries[0].ErrorCode != "" {
			code = out.Entries[0].ErrorCode
		}
		return errors.New("put event: refused: " + code)
	}
	return nil
}
