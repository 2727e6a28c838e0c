//go:build lambdahost

package app

import (
	"context"
	"io"
	"net/http"
	"time"
)

// clock asks the address in KEEPIN_TEST_CLOCK what time it is, each time: this
// is how test/lambdahost makes years pass for a real bootstrap. No function
// that is deployed has it.
func clock(getenv func(string) string) func() time.Time {
	url := getenv("KEEPIN_TEST_CLOCK")
	if url == "" {
		return time.Now
	}
	client := &http.Client{Timeout: time.Second}
	return func() time.Time {
		resp, err := client.Get(url) //nolint:noctx // a test
		if err != nil {
			return time.Now()
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 100))
		at, err := time.Parse(time.RFC3339Nano, string(text))
		if err != nil {
			return time.Now()
		}
		return at
	}
}

// sleep waits a twentieth of what it is told by the test's clock, which stands
// still meanwhile.
func sleep(getenv func(string) string) func(context.Context, time.Duration) error {
	if getenv("KEEPIN_TEST_CLOCK") == "" {
		return nil
	}
	return func(ctx context.Context, d time.Duration) error {
		select {
		case <-time.After(d / 20):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
