package operator

import (
	"context"
	"fmt"
	"time"

	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/seal"
	"github.com/keepin/keepin/shared/secret"
)

func (o *Operator) listKeys(ctx context.Context) (string, error) {
	_, ids, _, err := o.keyset(ctx)
	if err != nil {
		return "", err
	}
	used, err := o.usedKeys(ctx)
	if err != nil {
		return "", err
	}
	return table(func(row func(...any)) {
		row("KEY", "STORED VALUES", "")
		for _, id := range ids {
			note := ""
			switch {
			case id == ids[len(ids)-1]:
				note = "seals what is new"
			case used[id] == 0:
				note = "keepin keys prune drops it"
			}
			row(id, used[id], note)
		}
	}) + o.Cost(), nil
}

// keyset reads the keyset, the ids of its keys in their order, and when it was
// last changed.
func (o *Operator) keyset(ctx context.Context) (secret.String, []uint32, time.Time, error) {
	set, changed, err := o.Keys.Read(ctx)
	if err != nil {
		return secret.String{}, nil, time.Time{}, err
	}
	ids, err := seal.Keys(set)
	if err != nil {
		return secret.String{}, nil, time.Time{}, fmt.Errorf("%s: %w", o.Where, err)
	}
	return set, ids, changed, nil
}

func (o *Operator) rotateKeys(ctx context.Context) (string, error) {
	var ids []uint32
	err := o.Keys.Replace(ctx, func(set secret.String) (secret.String, error) {
		set, err := seal.AddKey(set)
		if err != nil {
			return secret.String{}, fmt.Errorf("%s: %w", o.Where, err)
		}
		ids, err = seal.Keys(set)
		return set, err
	})
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("Key %d was added. It seals all that is new, in a keepin that runs within 10 minutes.\n"+
		"Refreshes re-seal what is old; keepin keys prune drops the keys that nothing names any more.\n%s\n", ids[len(ids)-1], o.Backup), nil
}

func (o *Operator) pruneKeys(ctx context.Context) (string, error) {
	set, ids, changed, err := o.keyset(ctx)
	if err != nil {
		return "", err
	}
	if until := changed.Add(o.PruneAfter); until.After(o.Now()) {
		return "", fmt.Errorf("%s was changed a moment ago, and what is at work may still need its older keys: prune after %s", o.Where, when(until))
	}
	if o.SealsWith != nil { // before the store is searched: from now on no value names an older key
		if id, err := o.SealsWith(ctx); err != nil {
			return "", err
		} else if id != ids[len(ids)-1] {
			return "", fmt.Errorf("the keepin that runs still seals with key %d, and the newest is %d: try again in 10 minutes", id, ids[len(ids)-1])
		}
	}
	used, err := o.usedKeys(ctx)
	if err != nil {
		return "", err
	}
	next, dropped, err := seal.Prune(set, func(id uint32) bool { return used[id] > 0 })
	if err != nil {
		return "", fmt.Errorf("%s: %w", o.Where, err)
	}
	if len(dropped) == 0 {
		return "Every key is in use: none was dropped.\n" + o.Cost(), nil
	}
	err = o.Keys.Replace(ctx, func(now secret.String) (secret.String, error) {
		if !now.Equal(set) { // what seals now may be a key that nothing names yet
			return secret.String{}, fmt.Errorf("%s was changed while the store was searched: nothing was dropped; prune after %s", o.Where, when(o.Now().Add(o.PruneAfter)))
		}
		return next, nil
	})
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("Dropped, as nothing stored names them: %v.\n", dropped) + o.Cost(), nil
}

// usedKeys counts the stored values that name each key. It is an error where
// one names none: no key may be dropped then.
func (o *Operator) usedKeys(ctx context.Context) (map[uint32]int, error) {
	used := map[uint32]int{}
	err := o.Store.Each(ctx, func(g keeper.Grant) error {
		for _, t := range []keeper.Token{g.Access, g.Fresh, g.Refresh} {
			if len(t.Sealed) == 0 {
				continue
			}
			id, err := seal.KeyID(t.Sealed)
			if err != nil {
				return fmt.Errorf("a token of member %s is not sealed as it should be: %w", g.Member, err)
			}
			used[id]++
		}
		return nil
	})
	return used, err
}
