package linkedinsim

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"
)

// Call is one call that was made to a LinkedIn endpoint.
type Call struct {
	At        time.Time `json:"at"` // by the simulator's clock
	Endpoint  Endpoint  `json:"endpoint"`
	Method    string    `json:"method"`
	Status    int       `json:"status,omitempty"` // 0: no answer was sent
	Error     string    `json:"error,omitempty"`  // the error code of the answer
	GrantType string    `json:"grant_type,omitempty"`
	ClientID  string    `json:"client_id,omitempty"`
	Member    string    `json:"member,omitempty"`    // key
	Presented string    `json:"presented,omitempty"` // fingerprint of the code or token that was sent
	Issued    []string  `json:"issued,omitempty"`    // fingerprints: code, or access token and refresh token
	Faults    []Kind    `json:"faults,omitempty"`    // that struck
}

// call is a call under way.
type call struct {
	Call
	sim    *Sim
	r      *http.Request
	now    time.Time
	sw     Switches
	params url.Values
	ended  bool
}

// handle makes serve, which runs with s.mu held, an http.Handler with faults
// around it and a line in the log of calls.
func (s *Sim) handle(e Endpoint, serve func(*call) answer) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := &call{Call: Call{Endpoint: e, Method: r.Method}, sim: s, r: r}
		s.begin(c)
		defer s.end(c)
		r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
		parsed := r.ParseForm() // query and body, as LinkedIn takes both
		c.params = r.Form

		if !c.stall(StallBefore) {
			return
		}
		if _, hit := c.strikeLocked(ResetBefore); hit {
			s.end(c)
			reset(w)
		}
		var a answer
		if f, hit := c.strikeLocked(AnswerStatus); hit {
			a = ill(f)
		} else if parsed != nil {
			a = oauthError(400, "invalid_request", "The request is malformed")
		} else {
			a = c.serve(serve)
		}
		if !c.stall(StallAfter) {
			return
		}
		if _, hit := c.strikeLocked(ResetAfter); hit {
			s.end(c)
			reset(w)
		}
		for name, values := range a.header {
			w.Header()[name] = values
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(a.body)))
		if _, hit := c.strikeLocked(Truncate); hit {
			a.body = a.body[:len(a.body)/2] // net/http closes the connection: less than was promised
		}
		c.Status, c.Error = a.status, errorCode(a)
		s.end(c) // before the caller can know
		w.WriteHeader(a.status)
		_, _ = w.Write(a.body)
	})
}

func (c *call) serve(serve func(*call) answer) answer {
	c.sim.mu.Lock()
	defer c.sim.mu.Unlock()
	c.now, c.sw = c.sim.clock.Now(), c.sim.switches
	return serve(c)
}

func (s *Sim) begin(c *call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.At = s.clock.Now()
	for _, e := range []Endpoint{c.Endpoint, EveryEndpoint} {
		s.counts[e]++
		s.inFlight[e]++
	}
}

// end notes that a call is over, once.
func (s *Sim) end(c *call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.ended {
		return
	}
	c.ended = true
	for _, e := range []Endpoint{c.Endpoint, EveryEndpoint} {
		s.inFlight[e]--
	}
	if len(s.calls) < maxCalls {
		s.calls = append(s.calls, c.Call)
		return
	}
	s.calls[s.next] = c.Call
	s.next = (s.next + 1) % maxCalls
}

// Calls are the last 1000 calls that have ended, the oldest first.
func (s *Sim) Calls() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Concat(s.calls[s.next:], s.calls[:s.next])
}

// Count is how many calls were begun at an endpoint since the simulator was made.
func (s *Sim) Count(e Endpoint) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts[e]
}

// InFlight is how many calls are under way at an endpoint.
func (s *Sim) InFlight(e Endpoint) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.inFlight[e]
}

// maxCalls is how many calls are remembered.
const maxCalls = 1000
