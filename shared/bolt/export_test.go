package bolt

import (
	"time"

	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/session"
)

// For the fuzzer: rows are read inside transactions only.

// Row puts a head before an item.
func Row(version byte, end time.Time, item []byte) []byte { return row(version, end, item) }

// DecodeAll reads a row as each kind of item.
func DecodeAll(key, row []byte) (g keeper.Grant, b session.Burn, errs [5]error) {
	g, errs[0] = decodeGrant(key, row)
	_, errs[1] = decodeSession(key, row)
	b, errs[2] = decodeBurn(row)
	_, errs[3] = decodeControl(row)
	_, errs[4] = decodeIncident(row)
	return g, b, errs
}

// EncodeGrant makes a row of a grant.
func EncodeGrant(g keeper.Grant) []byte { return encodeGrant(g) }
