package linkedinsim

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"
)

// Endpoint is a part of LinkedIn that is called.
type Endpoint string

// The endpoints. EveryEndpoint stands for all of them, in a Fault and in Count.
const (
	EveryEndpoint      Endpoint = ""
	AuthorizeEndpoint  Endpoint = "authorize"
	TokenEndpoint      Endpoint = "token"
	IntrospectEndpoint Endpoint = "introspect"
	RevokeEndpoint     Endpoint = "revoke"
	UserinfoEndpoint   Endpoint = "userinfo"
	APIEndpoint        Endpoint = "api" // all of the API but userinfo
	JWKSEndpoint       Endpoint = "jwks"
	DiscoveryEndpoint  Endpoint = "discovery"
	SDKEndpoint        Endpoint = "sdk" // the exchange of the JavaScript SDK's tokens
)

// Kind is a way for LinkedIn to be ill.
type Kind string

// What can go wrong. The last group changes an answer that is otherwise good;
// those take effect, and count, only where there is such an answer.
const (
	AnswerStatus Kind = "status"       // answers Fault.Status and does nothing
	ResetBefore  Kind = "reset_before" // the connection dies, nothing was done
	ResetAfter   Kind = "reset_after"  // the connection dies, all was done: a token was issued and its answer is lost
	StallBefore  Kind = "stall_before" // nothing happens for Fault.For, then the call is handled
	StallAfter   Kind = "stall_after"  // the call is handled, its answer comes after Fault.For
	Truncate     Kind = "truncate"     // the second half of the body is missing

	WrongSecret   Kind = "wrong_secret"   // no client secret is accepted
	RefuseRefresh Kind = "refuse_refresh" // every refresh token is refused; introspection stays truthful

	NoExpiresIn      Kind = "no_expires_in"      // a token answer without expires_in
	ForeignTokenType Kind = "token_type"         // a token answer with token_type mac
	OtherSubject     Kind = "other_sub"          // userinfo of somebody else
	OtherApp         Kind = "other_app"          // a token of the JavaScript SDK is exchanged for one of another app
	RotateKeys       Kind = "rotate_keys"        // the ID token is signed with a new key; the old one is gone
	NoIDToken        Kind = "no_id_token"        // the ID token is missing
	IDTokenIssuer    Kind = "id_token_iss"       // ... has another issuer
	IDTokenAudience  Kind = "id_token_aud"       // ... is for another app
	IDTokenExpired   Kind = "id_token_exp"       // ... has expired
	IDTokenUnsigned  Kind = "id_token_alg_none"  // ... has alg none and no signature
	IDTokenKeyID     Kind = "id_token_kid"       // ... names a key that is not published
	IDTokenSignature Kind = "id_token_signature" // ... has a signature that does not fit
	IDTokenSubject   Kind = "id_token_sub"       // ... is about somebody else
)

// Fault makes LinkedIn ill at one endpoint, or at every one.
type Fault struct {
	Endpoint Endpoint `json:"endpoint,omitempty"`
	Kind     Kind     `json:"kind"`
	// Times is how many calls it strikes; 0: all, until Clear.
	Times int `json:"times,omitempty"`
	// Status is what AnswerStatus answers: 400 to 599. A 429 without RetryAfter
	// speaks of the daily limit.
	Status     int           `json:"status,omitempty"`
	RetryAfter time.Duration `json:"-"` // of a 429 or 503; in JSON "retry_after":"30s"
	// For is how long a stall lasts, in real time; 0: until Clear. A stall also
	// ends when the caller goes away. In JSON "for":"3s".
	For time.Duration `json:"-"`
}

func (f Fault) check() error {
	switch f.Kind {
	case AnswerStatus:
		if f.Status < 400 || f.Status > 599 {
			return fmt.Errorf("linkedinsim: fault: status %d is not between 400 and 599", f.Status)
		}
	case ResetBefore, ResetAfter, StallBefore, StallAfter, Truncate, WrongSecret, RefuseRefresh, NoExpiresIn,
		ForeignTokenType, OtherSubject, OtherApp, RotateKeys, NoIDToken, IDTokenIssuer, IDTokenAudience, IDTokenExpired,
		IDTokenUnsigned, IDTokenKeyID, IDTokenSignature, IDTokenSubject:
	default:
		return fmt.Errorf("linkedinsim: fault: no kind is named %q", f.Kind)
	}
	switch f.Endpoint {
	case EveryEndpoint, AuthorizeEndpoint, TokenEndpoint, IntrospectEndpoint, RevokeEndpoint, UserinfoEndpoint,
		APIEndpoint, JWKSEndpoint, DiscoveryEndpoint, SDKEndpoint:
	default:
		return fmt.Errorf("linkedinsim: fault: no endpoint is named %q", f.Endpoint)
	}
	if f.Times < 0 || f.For < 0 || f.RetryAfter < 0 {
		return fmt.Errorf("linkedinsim: fault: a negative number")
	}
	return nil
}

// MarshalJSON writes durations as text.
func (f Fault) MarshalJSON() ([]byte, error) {
	type plain Fault
	wire := struct {
		plain
		For        string `json:"for,omitempty"`
		RetryAfter string `json:"retry_after,omitempty"`
	}{plain: plain(f)}
	if f.For != 0 {
		wire.For = f.For.String()
	}
	if f.RetryAfter != 0 {
		wire.RetryAfter = f.RetryAfter.String()
	}
	return json.Marshal(wire)
}

// Fault makes LinkedIn ill from the next call on. It adds to the faults that
// are there; the oldest of a kind strikes first.
func (s *Sim) Fault(f Fault) error {
	if err := f.check(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, &f)
	return nil
}

// Clear ends every fault and every stall.
func (s *Sim) Clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
	close(s.cleared)
	s.cleared = make(chan struct{})
}

// Faults are those that still strike, with the times they have left.
func (s *Sim) Faults() []Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]Fault, 0, len(s.faults))
	for _, f := range s.faults {
		list = append(list, *f)
	}
	return list
}

// strike reports whether a fault of this kind strikes the call, and uses it up
// by one. s.mu is held.
func (c *call) strike(k Kind) (Fault, bool) {
	for i, f := range c.sim.faults {
		if f.Kind != k || f.Endpoint != EveryEndpoint && f.Endpoint != c.Endpoint {
			continue
		}
		hit := *f
		if f.Times == 1 {
			c.sim.faults = append(c.sim.faults[:i:i], c.sim.faults[i+1:]...)
		} else if f.Times > 1 {
			f.Times--
		}
		c.Faults = append(c.Faults, k)
		return hit, true
	}
	return Fault{}, false
}

func (c *call) strikeLocked(k Kind) (Fault, bool) {
	c.sim.mu.Lock()
	defer c.sim.mu.Unlock()
	return c.strike(k)
}

// stall waits where a fault of this kind strikes. It reports false when the
// caller has gone.
func (c *call) stall(k Kind) bool {
	c.sim.mu.Lock()
	f, hit := c.strike(k)
	cleared := c.sim.cleared
	c.sim.mu.Unlock()
	if !hit {
		return true
	}
	var over <-chan time.Time
	if f.For > 0 {
		t := time.NewTimer(f.For)
		defer t.Stop()
		over = t.C
	}
	select {
	case <-over:
	case <-cleared:
	case <-c.r.Context().Done():
		return false
	}
	return true
}

// reset ends the connection without an answer: with a TCP reset where there is
// a connection. It does not return.
func reset(w http.ResponseWriter) {
	if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = conn.Close()
	}
	panic(http.ErrAbortHandler)
}

// ill is the answer of an AnswerStatus fault.
func ill(f Fault) answer {
	var a answer
	switch {
	case f.Status == 429 && f.RetryAfter == 0:
		a = apiError(429, 101, "TOO_MANY_REQUESTS", "Resource level throttle APPLICATION DAY limit for calls to this resource is reached.")
	case f.Status == 429:
		a = apiError(429, 101, "TOO_MANY_REQUESTS", "Resource level throttle limit for calls to this resource is reached.")
	default:
		a = apiError(f.Status, 0, "", http.StatusText(f.Status))
	}
	if f.RetryAfter > 0 {
		a.header.Set("Retry-After", strconv.Itoa(int((f.RetryAfter+time.Second-1)/time.Second)))
	}
	return a
}
