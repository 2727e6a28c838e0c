package dynamo_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/keepin/keepin/shared/dynamo"
	"github.com/keepin/keepin/test/aws/awstest"
)

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestTheGivenTransportIsUsed(t *testing.T) {
	n := 0
	db, err := dynamo.Open(dynamo.Config{
		Table: "t", Region: awstest.Region, Credentials: awstest.Credentials(),
		Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			n++
			return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("{}")), Request: r}, nil
		}),
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Control(t.Context()); err != nil || n != 1 {
		t.Errorf("got %d calls, %v", n, err)
	}
}
