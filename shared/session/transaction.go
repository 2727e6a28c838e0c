package session

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/secret"
)

// The bounds of a transaction.
const (
	transactionLife = 10 * time.Minute
	maxTransactions = 5    // in one browser
	maxCookies      = 3072 // bytes of all of them
	burnLife        = 15 * time.Minute
	duplicateWithin = time.Minute
	duplicateWait   = 5 * time.Second
)

// ErrState: there is no such sign-in under way in this browser, or it is over.
var ErrState = errors.New("session: no such sign-in")

// ErrPending: the first of two equal callbacks has no outcome yet.
var ErrPending = errors.New("session: the sign-in is still under way")

// Transaction is one sign-in under way. It lives in a sealed cookie of the
// browser that began it and nowhere else.
type Transaction struct {
	ReturnTo string   // where the browser goes at the end
	Scopes   []string // as asked for
	Issuer   string   // who was asked
	Ticket   bool     // the return address gets a ticket
	Renew    bool
	// Nonce and Verifier are made by Begin where WithNonce and WithVerifier ask
	// for them; see keeper.Authorization.
	WithNonce, WithVerifier bool
	Nonce, Verifier         secret.String

	// Begin makes these.
	State    secret.String
	Session  secret.String // the id that the session will have: a duplicate callback gets the same
	IssuedAt time.Time
}

// Authorization is the transaction as LinkedIn's client needs it.
func (t Transaction) Authorization() keeper.Authorization {
	return keeper.Authorization{State: t.State, Nonce: t.Nonce, Verifier: t.Verifier, IssuedAt: t.IssuedAt}
}

// sealedTransaction is a Transaction inside its seal; short, as cookies are.
type sealedTransaction struct {
	State    string   `json:"s"`
	Session  string   `json:"i"`
	ReturnTo string   `json:"r"`
	Scopes   []string `json:"c"`
	IssuedAt int64    `json:"t"` // Unix milliseconds
	Issuer   string   `json:"u"`
	Ticket   bool     `json:"k,omitempty"`
	Renew    bool     `json:"n,omitempty"`
	Nonce    string   `json:"o,omitempty"`
	Verifier string   `json:"v,omitempty"`
}

// Begin gives the browser a transaction, and takes away its oldest ones beyond
// five, and those that are over.
func (m *Manager) Begin(w http.ResponseWriter, r *http.Request, t Transaction) (Transaction, error) {
	t.State, t.Session, t.IssuedAt = newID(), newID(), m.Now().UTC().Truncate(time.Millisecond)
	if t.WithNonce {
		t.Nonce = newID()
	}
	if t.WithVerifier {
		t.Verifier = newID()
	}
	var clear bytes.Buffer
	enc := json.NewEncoder(&clear)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(sealedTransaction{
		State: t.State.Reveal(), Session: t.Session.Reveal(), ReturnTo: t.ReturnTo, Scopes: t.Scopes,
		IssuedAt: t.IssuedAt.UnixMilli(), Issuer: t.Issuer, Ticket: t.Ticket, Renew: t.Renew,
		Nonce: t.Nonce.Reveal(), Verifier: t.Verifier.Reveal(),
	}); err != nil {
		return Transaction{}, errors.New("encode a transaction")
	}
	name := m.transactionCookie(t.State)
	sealed, err := m.Sealer.Seal(r.Context(), secret.New(clear.String()), keeper.PurposeTransaction, name)
	if err != nil {
		return Transaction{}, fmt.Errorf("seal a transaction: %w", err)
	}
	value := base64.RawURLEncoding.EncodeToString(sealed)
	m.makeRoom(w, r, len(name)+len(value))
	m.set(w, name, value, transactionLife)
	return t, nil
}

// makeRoom takes away transactions so that one of size bytes fits.
func (m *Manager) makeRoom(w http.ResponseWriter, r *http.Request, size int) {
	type held struct {
		name     string
		size     int
		issuedAt time.Time
	}
	var live []held
	seen := make(map[string]bool)
	for _, c := range cookies(r) {
		if !strings.HasPrefix(c.name, m.prefix+transactionName) || seen[c.name] {
			continue
		}
		seen[c.name] = true
		t, err := m.open(r, c.name)
		if errors.Is(err, ErrState) {
			m.expire(w, c.name)
			continue
		}
		live = append(live, held{c.name, len(c.name) + len(c.value), t.IssuedAt})
		size += len(c.name) + len(c.value)
	}
	slices.SortStableFunc(live, func(a, b held) int { return a.issuedAt.Compare(b.issuedAt) })
	for len(live) > 0 && (len(live) >= maxTransactions || size > maxCookies) {
		m.expire(w, live[0].name)
		size -= live[0].size
		live = live[1:]
	}
}

// Resume finds the transaction of a callback's state: the browser must hold
// exactly one cookie for it that we sealed, that is not over, and that has this
// very state in it. Everything else is ErrState, and the cookie goes; but where
// the Sealer's keys cannot be read it is keeper.ErrUnavailable.
func (m *Manager) Resume(w http.ResponseWriter, r *http.Request, state string) (Transaction, error) {
	if !isID(state) {
		return Transaction{}, ErrState
	}
	name := m.transactionCookie(secret.New(state))
	t, err := m.open(r, name)
	if err == nil && !t.State.Equal(secret.New(state)) {
		err = ErrState
	}
	if errors.Is(err, ErrState) && len(values(r, name)) > 0 {
		m.expire(w, name)
	}
	if err != nil {
		return Transaction{}, err
	}
	return t, nil
}

// open opens the one cookie of that name. Its errors are ErrState and
// keeper.ErrUnavailable.
func (m *Manager) open(r *http.Request, name string) (Transaction, error) {
	got := values(r, name)
	if len(got) != 1 {
		return Transaction{}, ErrState
	}
	sealed, ok := decode(got[0])
	if !ok {
		return Transaction{}, ErrState
	}
	clear, err := m.Sealer.Open(r.Context(), sealed, keeper.PurposeTransaction, name)
	if errors.Is(err, keeper.ErrUnavailable) {
		return Transaction{}, fmt.Errorf("open a transaction: %w", err)
	}
	if err != nil {
		return Transaction{}, ErrState
	}
	var s sealedTransaction
	if json.Unmarshal([]byte(clear.Reveal()), &s) != nil || !isID(s.State) || !isID(s.Session) {
		return Transaction{}, ErrState
	}
	t := Transaction{
		State: secret.New(s.State), Session: secret.New(s.Session), ReturnTo: s.ReturnTo, Scopes: s.Scopes,
		IssuedAt: time.UnixMilli(s.IssuedAt).UTC(), Issuer: s.Issuer, Ticket: s.Ticket, Renew: s.Renew,
		Nonce: secret.New(s.Nonce), Verifier: secret.New(s.Verifier),
		WithNonce: s.Nonce != "", WithVerifier: s.Verifier != "",
	}
	if !m.Now().Before(t.IssuedAt.Add(transactionLife)) {
		return Transaction{}, ErrState
	}
	return t, nil
}

// Close takes the transaction's cookie from the browser.
func (m *Manager) Close(w http.ResponseWriter, t Transaction) {
	m.expire(w, m.transactionCookie(t.State))
}

// transactionCookie names the cookie of a state, so that tabs do not share one.
func (m *Manager) transactionCookie(state secret.String) string {
	sum := sha256.Sum256([]byte(state.Reveal()))
	return m.prefix + transactionName + base64.RawURLEncoding.EncodeToString(sum[:])[:8]
}

// Claim is the right to finish a transaction, or what came of it.
type Claim struct {
	key  Hash
	burn Burn
	// Duplicate: the same callback was answered already, with this outcome.
	Duplicate bool
	Member    keeper.MemberID
	Outcome   string
}

// Claim uses t up for what the callback brought, its code or its error. Only
// the first caller may go on; it must Settle. The same callback again, within a
// minute, waits up to 5 s for the outcome of the first and gets that: ErrPending
// when there is none by then. With anything else, or later, it is ErrState.
func (m *Manager) Claim(ctx context.Context, t Transaction, brought secret.String) (Claim, error) {
	now := m.Now().UTC()
	c := Claim{key: hash(t.State), burn: Burn{Use: hash(brought), At: now, ExpiresAt: now.Add(burnLife)}}
	have, err := m.Burns.Burn(ctx, c.key, c.burn)
	for wait, waited := 100*time.Millisecond, time.Duration(0); ; wait = min(2*wait, time.Second) {
		switch {
		case err == nil && waited == 0:
			return c, nil
		case err != nil && !errors.Is(err, ErrUsed):
			return Claim{}, fmt.Errorf("burn a state: %w", err)
		case err == nil, have.Use != c.burn.Use, m.Now().Sub(have.At) >= duplicateWithin:
			return Claim{}, ErrState
		case have.Settled:
			return Claim{key: c.key, burn: have, Duplicate: true, Member: have.Member, Outcome: have.Outcome}, nil
		case waited >= duplicateWait:
			return Claim{}, ErrPending
		}
		wait = min(wait, duplicateWait-waited)
		if err := m.Sleep(ctx, wait); err != nil {
			return Claim{}, fmt.Errorf("wait for a sign-in: %w", err)
		}
		waited += wait
		have, err = m.Burns.Burn(ctx, c.key, c.burn)
	}
}

// Settle records what came of the transaction, for its duplicates: who signed
// in ("" when nobody did) and a fixed word.
func (m *Manager) Settle(ctx context.Context, c Claim, member keeper.MemberID, outcome string) error {
	c.burn.Settled, c.burn.Member, c.burn.Outcome = true, member, outcome
	if err := m.Burns.Settle(ctx, c.key, c.burn); err != nil {
		return fmt.Errorf("settle a state: %w", err)
	}
	return nil
}
