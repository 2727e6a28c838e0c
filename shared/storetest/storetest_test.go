package storetest_test

import (
	"testing"
	"time"

	"github.com/keepin/keepin/shared/storetest"
)

func TestMemoryKeepsTheContract(t *testing.T) {
	storetest.Run(t, func(_ *testing.T, now func() time.Time) storetest.Stores {
		return storetest.NewMemory(now)
	})
}
