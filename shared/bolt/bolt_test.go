package bolt_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/keepin/keepin/shared/bolt"
	"github.com/keepin/keepin/shared/storetest"
)

func TestDBKeepsTheContract(t *testing.T) {
	storetest.Run(t, func(t *testing.T, now func() time.Time) storetest.Stores {
		return open(t, filepath.Join(t.TempDir(), "keepin.db"), now)
	})
}

func open(t *testing.T, path string, now func() time.Time) *bolt.DB {
	t.Helper()
	db, err := bolt.Open(path, now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}
