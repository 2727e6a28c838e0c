package main

import (
	"os"
	"testing"
)

// TestMain lets the test be the program, where KEEPIN_TEST_PROGRAM is set: so it
// runs with the race detector too, and go test sees that the program has
// changed, which it would not see of one that the tests build.
func TestMain(m *testing.M) {
	if os.Getenv("KEEPIN_TEST_PROGRAM") != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}
