package session

import (
	"bytes"
	"slices"
	"time"
)

// excess names what must go when s is stored beside have, the member's other
// sessions: those that have ended at now, and the oldest beyond MaxPerMember. s
// itself always stays, and so does its place in have.
func excess(have []Session, s Session, now time.Time) []Hash {
	var gone []Hash
	var live []Session
	for _, o := range have {
		switch {
		case o.Hash == s.Hash: // replaced
		case !o.ExpiresAt.After(now):
			gone = append(gone, o.Hash)
		default:
			live = append(live, o)
		}
	}
	slices.SortFunc(live, func(a, b Session) int {
		if c := a.CreatedAt.Compare(b.CreatedAt); c != 0 {
			return c
		}
		return bytes.Compare(a.Hash[:], b.Hash[:])
	})
	for len(live) >= MaxPerMember {
		gone = append(gone, live[0].Hash)
		live = live[1:]
	}
	return gone
}
