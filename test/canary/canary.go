// Package canary finds known secrets in whatever a test has gathered: logs,
// answers, errors, stored items. It knows the disguises that secrets wear there.
package canary

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// Canary is one secret, and the name that a failed test shows for it.
type Canary struct{ Name, Secret string }

// edge is how much of a secret's beginning or end gives it away.
const edge = 16

// Find returns what of the canaries is in text: one line for each that is
// found, with the form it was found in and never the secret. Secrets shorter
// than 8 characters are refused by a panic: they would be found anywhere.
//
// Forms: as it is, base64 (standard and URL alphabet, however it is aligned),
// hex, URL-encoded (query and path), JSON- and Go-quoted, reversed, and the
// first and last 16 bytes alone.
func Find(text []byte, canaries ...Canary) []string { return NewHunter(canaries...).Find(text) }

// Hunter looks for many canaries in one walk through a text.
type Hunter struct {
	canaries []Canary
	// forms by their first 8 bytes; no form is shorter.
	forms map[[start]byte][]hunted
	seen  [1 << 16]bool // of the first two of them
}

const start = 8

type hunted struct {
	canary int
	form
}

// NewHunter makes a Hunter of canaries; see Find.
func NewHunter(canaries ...Canary) *Hunter {
	h := &Hunter{canaries: canaries, forms: map[[start]byte][]hunted{}}
	for n, c := range canaries {
		if len(c.Secret) < start {
			panic("canary: " + c.Name + " is too short to be told from chance")
		}
		for _, f := range forms(c.Secret) {
			key := [start]byte([]byte(f.text))
			h.forms[key] = append(h.forms[key], hunted{n, f})
			h.seen[int(key[0])<<8|int(key[1])] = true
		}
	}
	return h
}

// Find is Find of the canaries that h hunts.
func (h *Hunter) Find(text []byte) (found []string) {
	caught := map[int]bool{}
	for at := range max(0, len(text)-start+1) {
		if !h.seen[int(text[at])<<8|int(text[at+1])] {
			continue
		}
		for _, f := range h.forms[[start]byte(text[at:])] {
			if !caught[f.canary] && bytes.HasPrefix(text[at:], []byte(f.text)) {
				caught[f.canary] = true
				found = append(found, fmt.Sprintf("%s: %s", h.canaries[f.canary].Name, f.name))
			}
		}
	}
	return found
}

type form struct{ name, text string }

func forms(secret string) []form {
	quoted, _ := json.Marshal(secret)
	gone := fmt.Sprintf("%q", secret)
	all := []form{
		{"as it is", secret},
		{"JSON-quoted", string(quoted[1 : len(quoted)-1])},
		{"Go-quoted", gone[1 : len(gone)-1]},
		{"URL-encoded", url.QueryEscape(secret)},
		{"URL-encoded in a path", url.PathEscape(secret)},
		{"URL-encoded in lower case", lowerEscapes(url.QueryEscape(secret))},
		{"in hex", hex.EncodeToString([]byte(secret))},
		{"in upper-case hex", strings.ToUpper(hex.EncodeToString([]byte(secret)))},
		{"reversed", reverse(secret)},
	}
	for at := range 3 {
		all = append(all, form{"in base64", aligned(base64.RawStdEncoding, secret, at)}, form{"in base64url", aligned(base64.RawURLEncoding, secret, at)})
	}
	if len(secret) > edge {
		all = append(all, form{"its first 16 bytes", secret[:edge]}, form{"its last 16 bytes", secret[len(secret)-edge:]})
	}
	return all
}

// aligned is the part of secret's base64 that does not depend on its
// neighbours, when it begins at bytes into a group of 3.
func aligned(enc *base64.Encoding, secret string, at int) string {
	out := enc.EncodeToString([]byte(strings.Repeat("\x00", at) + secret))
	bits := (at + len(secret)) * 8
	return out[(at*8+5)/6 : bits/6]
}

func reverse(s string) string {
	b := []byte(s)
	slices.Reverse(b)
	return string(b)
}

// lowerEscapes turns %2F into %2f.
func lowerEscapes(s string) string {
	b := []byte(s)
	for i := range b {
		if b[i] == '%' && i+2 < len(b) {
			copy(b[i:], strings.ToLower(s[i:i+3]))
		}
	}
	return string(b)
}
