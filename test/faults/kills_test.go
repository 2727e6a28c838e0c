package faults_test

import (
	"crypto/rand"
	"crypto/rsa"
	mathrand "math/rand/v2"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/keepin/keepin/shared/linkedinsim"
	"github.com/keepin/keepin/test/aws/awstest"
	"github.com/keepin/keepin/test/crowd"
)

// TestKilledFunctionsLoseNothing kills the functions' processes with SIGKILL at
// random moments, while members sign in, sign out and are refreshed: 40 times,
// or KEEPIN_KILLS times. Time passes by what happens, some 0.4 s a request: so
// leases that a killed process held run out, and tokens end, while the test
// waits, however slow the machine.
func TestKilledFunctionsLoseNothing(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	s := newStack(t, key, awstest.Dynalite(t), false, nil)
	s.sim.SetSwitches(func(w *linkedinsim.Switches) { w.AccessLifetime = 20 * time.Second })
	for _, f := range []linkedinsim.Fault{ // LinkedIn takes its time, so that a kill finds calls under way
		{Endpoint: linkedinsim.TokenEndpoint, Kind: linkedinsim.StallBefore, For: 20 * time.Millisecond},
		{Endpoint: linkedinsim.TokenEndpoint, Kind: linkedinsim.StallAfter, For: 20 * time.Millisecond},
		{Endpoint: linkedinsim.IntrospectEndpoint, Kind: linkedinsim.StallAfter, For: 10 * time.Millisecond},
	} {
		must(t, s.sim.Fault(f))
	}
	kills, seed := crowd.Kills(40), crowd.NewSeed(t)
	dice := mathrand.New(mathrand.NewPCG(seed, 1000)) //nolint:gosec // a test's dice
	people := &crowd.Crowd{Base: s.base, Sim: s.sim, Backend: signed, Seed: seed, Patience: 30 * time.Second}
	people.Gather(t, 12)

	stop, over := make(chan struct{}), make(chan struct{})
	var all sync.WaitGroup
	every := func(d time.Duration, do func()) { // until it is over
		all.Go(func() {
			for tick := time.NewTicker(d); ; {
				select {
				case <-over:
					tick.Stop()
					return
				case <-tick.C:
					do()
				}
			}
		})
	}
	seen := 0
	every(10*time.Millisecond, func() {
		n := people.Requests()
		s.clock.Advance(20*time.Millisecond + time.Duration(n-seen)*400*time.Millisecond)
		seen = n
	})
	every(100*time.Millisecond, func() { _ = s.host.Tick(t.Context()) }) // a killed pass is an error of it
	var lived sync.WaitGroup
	lived.Go(func() { people.Live(stop) })

	began, refreshing, killed := time.Now(), 0, map[string]int{}
	for n := 0; n < kills; {
		for next := people.Requests() + dice.IntN(10); people.Requests() < next; {
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Duration(dice.IntN(50)) * time.Millisecond) // the moment is the point
		name := []string{"CallbackFunction", "MembersFunction", "MembersFunction", "RefreshFunction", "RefreshFunction", "LogoutFunction"}[dice.IntN(6)]
		pids := s.host.Functions[name].Pids()
		if len(pids) == 0 {
			continue
		}
		pid := pids[len(pids)-1] // one that is at work, where one is
		if s.sim.InFlight(linkedinsim.TokenEndpoint) > 0 {
			refreshing++
		}
		if syscall.Kill(-pid, syscall.SIGKILL) == nil {
			n++
			killed[name]++
		}
	}
	close(stop)
	lived.Wait()
	took := time.Since(began)
	people.Settle()
	close(over)
	all.Wait()
	t.Logf("%d kills %v in %v, token calls under way at %d of them; %s; %d token calls", kills, killed, took.Round(time.Second), refreshing, people, s.sim.Count(linkedinsim.TokenEndpoint))
	if people.Tokens() < kills/4 || people.Cut() < kills/10 || refreshing == 0 {
		t.Errorf("too little happened")
	}
}
