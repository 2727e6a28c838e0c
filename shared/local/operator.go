package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"github.com/keepin/keepin/shared/bolt"
	"github.com/keepin/keepin/shared/operator"
	"github.com/keepin/keepin/shared/seal"
	"github.com/keepin/keepin/shared/secret"
	"github.com/keepin/keepin/shared/secrets"
)

// pruneAfter is how long after a change of the keyset no key is dropped: a
// process reads it anew within 10 minutes, and what a browser then holds of a
// sign-in under way lasts 10 more. The process that runs is asked besides.
const pruneAfter = 20 * time.Minute

// Operate does what an operator asks with the words of operator.Do. The keepin
// that runs on the store does it, or where none runs, this process.
func Operate(ctx context.Context, store, keys string, now func() time.Time, words ...string) (string, error) {
	if now == nil {
		now = time.Now
	}
	text, err := ask(ctx, socketOf(store), words)
	if !errors.Is(err, errNobody) {
		return text, err
	}
	if _, err := os.Stat(store); errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("there is no store at %s: keepin serve makes it; KEEPIN_DATA or KEEPIN_STORE says where it is", store)
	}
	db, err := bolt.Open(store, now)
	if errors.Is(err, bolt.ErrInUse) { // a keepin that has just started, perhaps
		if text, again := ask(ctx, socketOf(store), words); !errors.Is(again, errNobody) {
			return text, again
		}
	}
	if err != nil {
		return "", err
	}
	text, err = newOperator(db, keys, now, nil, nil).Do(ctx, words...)
	return text, errors.Join(err, db.Close())
}

func newOperator(db *bolt.DB, keys string, now func() time.Time, log *slog.Logger, sealsWith func(context.Context) (uint32, error)) *operator.Operator {
	return operator.New(operator.Config{
		Store: db, Keys: keysetFile(keys), Where: "file:" + keys, PruneAfter: pruneAfter, SealsWith: sealsWith, Now: now, Log: log,
		Backup: "Back up " + keys + " now: without it nothing in the store opens.",
	})
}

// keysetFile is a keyset in a file. Whoever holds the store's file is the only
// one who changes it.
type keysetFile string

func (k keysetFile) Read(ctx context.Context) (secret.String, time.Time, error) {
	set, err := secrets.File(string(k))(ctx)
	if err != nil {
		return secret.String{}, time.Time{}, err
	}
	info, err := os.Stat(string(k))
	if err != nil {
		return secret.String{}, time.Time{}, err
	}
	return set, info.ModTime(), nil
}

func (k keysetFile) Replace(ctx context.Context, edit func(secret.String) (secret.String, error)) error {
	set, err := secrets.File(string(k))(ctx)
	if err == nil {
		set, err = edit(set)
	}
	if err == nil {
		err = secrets.Replace(string(k), set)
	}
	return err
}

// sealsWith is the key that s seals with now.
func sealsWith(s *seal.Sealer) func(context.Context) (uint32, error) {
	return func(ctx context.Context) (uint32, error) {
		blob, err := s.Seal(ctx, secret.String{}, "none", "")
		if err != nil {
			return 0, err
		}
		return seal.KeyID(blob)
	}
}
