package session_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/secret"
	"github.com/keepin/keepin/shared/session"
)

func (b *bench) ticket(g keeper.Grant, id secret.String) string {
	b.Helper()
	ticket, err := b.NewTicket(b.Context(), g, id)
	b.must(err)
	return ticket
}

func (b *bench) redeem(ticket string) (keeper.Grant, error) {
	return b.Redeem(b.Context(), ticket, b.store.Get)
}

func TestTicketIsRedeemedOnce(t *testing.T) {
	b := newBench(t, true)
	g := b.grant("ada")
	ticket := b.ticket(g, secret.String{})
	if strings.Trim(ticket, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "" || strings.Contains(ticket, string(g.Member)) {
		t.Errorf("ticket %q", ticket)
	}
	if got, err := b.redeem(ticket); err != nil || got.Member != g.Member {
		t.Fatalf("%v, %v", got.Member, err)
	}
	if _, err := b.redeem(ticket); !errors.Is(err, session.ErrTicket) {
		t.Errorf("again: %v, want ErrTicket", err)
	}
	if _, err := b.redeem(b.ticket(g, secret.String{})); err != nil {
		t.Errorf("another ticket of the member: %v", err)
	}
}

func TestTicketIsRedeemedOnceByManyAtOnce(t *testing.T) {
	b := newBench(t, true)
	ticket := b.ticket(b.grant("ada"), secret.String{})
	var won int
	var mu sync.Mutex
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if _, err := b.redeem(ticket); err == nil {
				mu.Lock()
				won++
				mu.Unlock()
			}
		})
	}
	all.Wait()
	if won != 1 {
		t.Errorf("redeemed %d times", won)
	}
}

func TestTicketsOfOneSignInAreOne(t *testing.T) {
	b := newBench(t, true)
	g := b.grant("ada")
	id := secret.New(strings.Repeat("A", 43))
	first, duplicate := b.ticket(g, id), b.ticket(g, id)
	if _, err := b.redeem(duplicate); err != nil {
		t.Fatal(err)
	}
	if _, err := b.redeem(first); !errors.Is(err, session.ErrTicket) {
		t.Errorf("the other of two equal answers: %v, want ErrTicket", err)
	}
}

func TestTicketEndsWithItsMinuteAndItsGeneration(t *testing.T) {
	b := newBench(t, true)
	g := b.grant("ada")
	b.pass(-time.Millisecond)
	ticket := b.ticket(g, secret.String{})
	b.pass(time.Minute)
	if _, err := b.redeem(ticket); !errors.Is(err, session.ErrTicket) {
		t.Errorf("after a minute: %v, want ErrTicket", err)
	}
	for name, change := range map[string]func(*keeper.Grant){
		"signed out and in again": func(g *keeper.Grant) { g.Generation = "another" },
		"signed out":              func(g *keeper.Grant) { g.Status = keeper.SignedOut },
	} {
		ticket := b.ticket(g, secret.String{})
		b.change(g.Member, change)
		if _, err := b.redeem(ticket); !errors.Is(err, session.ErrTicket) {
			t.Errorf("%s: %v, want ErrTicket", name, err)
		}
		b.change(g.Member, func(have *keeper.Grant) { have.Generation, have.Status = g.Generation, g.Status })
	}
	if len(b.writes) != 5 {
		t.Errorf("a refused ticket was burnt: %v", b.writes)
	}
}

func TestOnlyTheExactTicketIsOne(t *testing.T) {
	b := newBench(t, true)
	ticket := b.ticket(b.grant("ada"), secret.String{})
	jar := make(map[string]string)
	b.begin(jar, usual())
	_, transaction := only(jar)
	b.writes = nil
	bad := []string{"", " ", transaction, ticket + "A", ticket + "=", strings.Repeat("A", 2000), "тикет"}
	for i := range len(ticket) {
		bad = append(bad, ticket[:i], ticket[:i]+"."+ticket[i+1:])
	}
	for _, s := range bad {
		if _, err := b.redeem(s); !errors.Is(err, session.ErrTicket) {
			t.Errorf("%q: %v, want ErrTicket", s, err)
		}
	}
	if len(b.writes) > 0 {
		t.Errorf("written: %v", b.writes)
	}
	if _, err := b.redeem(ticket); err != nil {
		t.Errorf("the exact one, after all that: %v", err)
	}
}

func TestFailureDoesNotUseATicketUp(t *testing.T) {
	b := newBench(t, true)
	ticket := b.ticket(b.grant("ada"), secret.String{})
	down := errors.New("down")
	if _, err := b.Redeem(t.Context(), ticket, func(context.Context, keeper.MemberID) (keeper.Grant, error) { return keeper.Grant{}, down }); !errors.Is(err, down) {
		t.Errorf("no grant: %v, want its error", err)
	}
	b.down = "Burn"
	if _, err := b.redeem(ticket); err == nil || errors.Is(err, session.ErrTicket) {
		t.Errorf("no burn: %v, want the store's error", err)
	}
	b.down, b.sealer.err = "", fmt.Errorf("keys: %w", keeper.ErrUnavailable)
	if _, err := b.redeem(ticket); !errors.Is(err, keeper.ErrUnavailable) {
		t.Errorf("no keys: %v, want ErrUnavailable", err)
	}
	b.sealer.err = nil
	if _, err := b.redeem(ticket); err != nil {
		t.Errorf("all well again: %v", err)
	}
}

// The first answer of the store is lost, and the second says that the ticket is
// used: by us.
func TestALostAnswerDoesNotUseATicketUp(t *testing.T) {
	b := newBench(t, true)
	ticket := b.ticket(b.grant("ada"), secret.String{})
	b.lost = "Burn"
	if _, err := b.redeem(ticket); err != nil {
		t.Errorf("got %v", err)
	}
	if _, err := b.redeem(ticket); !errors.Is(err, session.ErrTicket) {
		t.Errorf("again: %v, want ErrTicket", err)
	}
	ticket = b.ticket(b.grant("bob"), secret.String{})
	b.down, b.downFor, b.onSleep = "Burn", 1, func() {
		b.onSleep = nil
		if _, err := b.redeem(ticket); err != nil {
			t.Errorf("another, meanwhile: %v", err)
		}
	}
	if _, err := b.redeem(ticket); !errors.Is(err, session.ErrTicket) {
		t.Errorf("behind another: %v, want ErrTicket", err)
	}
}
