//go:build !lambdahost

package app

import (
	"context"
	"time"
)

// clock is the time. Built with the tag lambdahost, a test moves it.
func clock(func(string) string) func() time.Time { return time.Now }

// sleep is nil: by a timer.
func sleep(func(string) string) func(context.Context, time.Duration) error { return nil }
