package main

import (
	"bytes"
	"math"
	"os"
	"testing"
)

func TestPageIsWhatTheProgramPrints(t *testing.T) {
	var want bytes.Buffer
	if err := write(&want); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../cost.md")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want.Bytes()) {
		t.Error("docs/cost.md is another: go run ./docs/cost > docs/cost.md")
	}
}

// The year that is reckoned with is a year as the promises have it: some seven
// refreshes, each proven as the sign-in's token is, a look each week but where a
// refresh looks, the five rungs of the ladder and two events.
func TestYearIsAMembersYear(t *testing.T) {
	y := aYear()
	if y.refresh < 6 || y.refresh > 8 || math.Abs(y.prove-y.refresh-1) > 1e-9 || y.verify < 40 || y.verify > 52 || math.Abs(y.announce-7) > 1e-9 {
		t.Errorf("%+v", y)
	}
}
