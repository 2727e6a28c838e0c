// Package secret holds values that must never be printed, logged or encoded.
package secret

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
)

const redacted = "[redacted]"

// String is a secret text. Its zero value is the empty secret. Every verb of
// fmt and every slog handler shows "[redacted]", also when the String sits in
// an unexported field: fmt calls no methods there, and prints the address of
// the pointer. Encoding one is an error, so that a store can neither hold a
// clear secret nor silently replace it.
//
// A String is immutable and safe for concurrent use. Compare with Equal:
// == compares addresses.
type String struct{ p *string }

// New makes a secret of s. New("") is the zero String.
func New(s string) String {
	if s == "" {
		return String{}
	}
	return String{&s}
}

// Reveal returns the clear text: the only way out. Call it where the value
// goes over the wire, is sealed, or becomes a cookie, and nowhere else.
func (s String) Reveal() string {
	if s.p == nil {
		return ""
	}
	return *s.p
}

// IsZero reports whether s is the empty secret.
func (s String) IsZero() bool { return s.p == nil }

// Equal compares in constant time for secrets of one length.
func (s String) Equal(t String) bool {
	return subtle.ConstantTimeCompare([]byte(s.Reveal()), []byte(t.Reveal())) == 1
}

// Fingerprint names the secret without giving it away: "sha256:" and the first
// 8 hex digits of its hash. It tells two tokens apart in a support record. The
// empty secret's is "none".
func (s String) Fingerprint() string {
	if s.p == nil {
		return "none"
	}
	sum := sha256.Sum256([]byte(*s.p))
	return "sha256:" + hex.EncodeToString(sum[:4])
}

// Format writes "[redacted]" for every verb.
func (s String) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// LogValue is "[redacted]".
func (s String) LogValue() slog.Value { return slog.StringValue(redacted) }

// errEncode is what every encoder of a secret gets.
var errEncode = errors.New("secret: a secret cannot be encoded")

// MarshalText always fails.
func (s String) MarshalText() ([]byte, error) { return nil, errEncode }

// MarshalJSON always fails.
func (s String) MarshalJSON() ([]byte, error) { return nil, errEncode }

// MarshalBinary always fails.
func (s String) MarshalBinary() ([]byte, error) { return nil, errEncode }
