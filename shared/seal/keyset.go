package seal

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/keepin/keepin/shared/secret"
)

// A keyset is one JSON object from key id to key: {"1":"...","2":"..."}. Ids
// are whole numbers from 1 on; the highest seals. A key is any text with at
// least 256 bits in it, and at least 43 characters: HKDF makes a key of it, so
// that CloudFormation's GenerateSecretString can make the first one.
type keyset struct {
	keys   map[uint32]secret.String
	newest uint32
}

const (
	minMaterial = 43 // 256 bits in base64url
	maxMaterial = 1024
	maxKeys     = 64
)

// NewKeyset makes a keyset with one random key, number 1.
func NewKeyset() secret.String {
	return (&keyset{keys: map[uint32]secret.String{1: newKey()}, newest: 1}).text()
}

// AddKey adds a random key, which seals from then on.
func AddKey(set secret.String) (secret.String, error) {
	k, err := parse(set)
	if err != nil {
		return secret.String{}, err
	}
	if len(k.keys) == maxKeys || k.newest == 1<<32-1 {
		return secret.String{}, errors.New("keyset: is full: prune it first")
	}
	k.newest++
	k.keys[k.newest] = newKey()
	return k.text(), nil
}

// Prune drops the keys that are not in use, but never the newest. It also
// returns which it dropped.
func Prune(set secret.String, inUse func(id uint32) bool) (secret.String, []uint32, error) {
	k, err := parse(set)
	if err != nil {
		return secret.String{}, nil, err
	}
	var dropped []uint32
	for _, id := range slices.Sorted(maps.Keys(k.keys)) {
		if id != k.newest && !inUse(id) {
			dropped = append(dropped, id)
			delete(k.keys, id)
		}
	}
	return k.text(), dropped, nil
}

// Check is nil when set is a keyset. Its error names what is wrong, and no key.
func Check(set secret.String) error {
	_, err := parse(set)
	return err
}

// Keys are the ids of a keyset in their order: the last one seals.
func Keys(set secret.String) ([]uint32, error) {
	k, err := parse(set)
	if err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(k.keys)), nil
}

func newKey() secret.String { return secret.New(rand.Text() + rand.Text()) } // 260 bits

// text is the keyset as it is stored.
func (k *keyset) text() secret.String {
	clear := make(map[string]string, len(k.keys))
	for id, key := range k.keys {
		clear[strconv.FormatUint(uint64(id), 10)] = key.Reveal()
	}
	out, _ := json.Marshal(clear) // strings cannot fail
	return secret.New(string(out))
}

var errKeysetShape = errors.New(`keyset: is not a JSON object of keys, {"1":"..."}`)

// parse reads a keyset. It takes no duplicate id, where encoding/json would
// silently let the last one win.
func parse(set secret.String) (*keyset, error) {
	dec := json.NewDecoder(strings.NewReader(set.Reveal()))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, errKeysetShape
	}
	k := &keyset{keys: map[uint32]secret.String{}}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return nil, errKeysetShape
		}
		value, err := dec.Token()
		if err != nil {
			return nil, errKeysetShape
		}
		text, ok := value.(string)
		id, err := strconv.ParseUint(name.(string), 10, 32) // an object's names are strings
		switch {
		case err != nil || id == 0 || strconv.FormatUint(id, 10) != name:
			return nil, errors.New("keyset: a key's name is not a whole number from 1 on")
		case !ok || len(text) < minMaterial || len(text) > maxMaterial:
			return nil, fmt.Errorf("keyset: key %d is not a text of %d to %d characters", id, minMaterial, maxMaterial)
		case !k.keys[uint32(id)].IsZero():
			return nil, fmt.Errorf("keyset: key %d stands there twice", id)
		case len(k.keys) == maxKeys:
			return nil, fmt.Errorf("keyset: has more than %d keys", maxKeys)
		}
		k.keys[uint32(id)] = secret.New(text)
	}
	if _, err := dec.Token(); err != nil || len(k.keys) == 0 {
		return nil, errKeysetShape
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errKeysetShape
	}
	for id := range k.keys {
		k.newest = max(k.newest, id)
	}
	return k, nil
}
