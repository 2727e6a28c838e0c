package events

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge/types"

	"github.com/keepin/keepin/shared/keeper"
)

// busTimeout bounds one event with its repetitions: a bus that stalls must not
// stop a pass, which has refreshes to make.
const busTimeout = 3 * time.Second

// Bus puts events on an EventBridge bus. The CloudEvent is the detail, and its
// type the detail-type, so that rules can choose by it; the source is "keepin".
type Bus struct {
	Client  *eventbridge.Client
	Name    string // or ARN
	BaseURL string
}

// Send puts one event. An error means that it may or may not have arrived.
func (b Bus) Send(ctx context.Context, e keeper.Event) error {
	detail, err := Encode(b.BaseURL, e)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, busTimeout)
	defer cancel()
	out, err := b.Client.PutEvents(ctx, &eventbridge.PutEventsInput{Entries: []types.PutEventsRequestEntry{{
		EventBusName: aws.String(b.Name),
		Source:       aws.String("keepin"),
		DetailType:   aws.String(string(e.Type)),
		Detail:       aws.String(string(detail)),
		Time:         aws.Time(e.At),
	}}})
	if err != nil {
		return fmt.Errorf("put event: %w", err)
	}
	if out.FailedEntryCount > 0 { // the call succeeds even so
		code := "unknown"
		if len(out.Entries) > 0 && out.Entries[0].ErrorCode != nil {
			code = *out.Entries[0].ErrorCode
		}
		return errors.New("put event: refused: " + code)
	}
	return nil
}
