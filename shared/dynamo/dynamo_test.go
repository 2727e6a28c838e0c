package dynamo_test

import (
	"testing"
	"time"

	"github.com/keepin/keepin/shared/dynamo"
	"github.com/keepin/keepin/shared/storetest"
	"github.com/keepin/keepin/test/aws/awstest"
)

func TestTableKeepsTheContract(t *testing.T) {
	for name, start := range map[string]func(testing.TB) string{"dynalite": awstest.Dynalite, "ministack": awstest.Ministack} {
		t.Run(name, func(t *testing.T) {
			endpoint := start(t)
			storetest.Run(t, func(t *testing.T, now func() time.Time) storetest.Stores {
				return open(t, endpoint, now)
			})
		})
	}
}

func open(t testing.TB, endpoint string, now func() time.Time) *dynamo.Table {
	t.Helper()
	table, err := dynamo.Open(dynamo.Config{
		Table: awstest.Table(t, endpoint), Region: awstest.Region, Credentials: awstest.Credentials(), Endpoint: endpoint,
		Now: now, Timeout: 20 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	return table
}
