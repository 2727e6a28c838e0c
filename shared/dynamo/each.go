package dynamo

import (
	"context"
	"time"

	"github.com/keepin/keepin/shared/awsjson"
	"github.com/keepin/keepin/shared/keeper"
)

// Scan reads the whole table for an operator. Functions never do, and have no
// right to.
type Scan struct {
	Table *Table
	// UnitsPerSecond bounds the reading, so that members' own reads do not wait
	// behind it; 0: as fast as it goes. A page costs up to 256 units at once.
	UnitsPerSecond int
	// Sleep waits between pages; nil: a timer.
	Sleep func(context.Context, time.Duration) error

	Units float64 // read request units that Each has used so far
	Items int     // of every kind that it has read so far
}

// Each calls f with every stored grant, those that have ended too, with its
// member and its sealed tokens and nothing else, until f returns an error. A
// grant that is written meanwhile is met as it was before or after. It costs
// what is stored, sessions and all: 1 unit for each 4 KB. Where the table is
// busy it waits, for a minute at most.
func (s *Scan) Each(ctx context.Context, f func(keeper.Grant) error) error {
	var start item
	for busy := 0; ; {
		out, err := s.page(ctx, start)
		if awsjson.IsThrottled(err) && busy < 60 {
			busy++
			if err := s.sleep(ctx, time.Second); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		busy = 0
		s.Units += out.units
		s.Items += int(out.scanned)
		for _, i := range out.items {
			g, err := toGrant("each grant", i)
			if err != nil {
				return err
			}
			if err := f(g); err != nil {
				return err
			}
		}
		if start = out.last; len(start) == 0 {
			return nil
		}
		if s.UnitsPerSecond > 0 {
			if err := s.sleep(ctx, time.Duration(out.units/float64(s.UnitsPerSecond)*float64(time.Second))); err != nil {
				return err
			}
		}
	}
}

func (s *Scan) page(ctx context.Context, start item) (page, error) {
	in := request{
		"FilterExpression":          "sk = :grant",
		"ExpressionAttributeValues": item{":grant": text(grantSort)},
		"ProjectionExpression":      "pk, v, ab, fb, rb",
		"Select":                    specificAttributes, // the operator's policy asks for it
		"ConsistentRead":            true,
		"ReturnConsumedCapacity":    "TOTAL",
	}
	in.startAt(start)
	return s.Table.page(ctx, "scan", "Scan", in)
}

func (s *Scan) sleep(ctx context.Context, d time.Duration) error {
	if s.Sleep != nil {
		return s.Sleep(ctx, d)
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
