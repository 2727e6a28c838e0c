//go:build !lambdahost

package app

import "time"

// clock is the time. Built with the tag lambdahost, a test moves it.
func clock(func(string) string) func() time.Time { return time.Now }
