package web

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/secret"
	"github.com/keepin/keepin/shared/session"
)

// BearerAuth lets through who brings the back-end key as a bearer token (RFC
// 6750 section 2.1). With a zero key it lets nobody through.
func BearerAuth(key secret.String) func(http.Handler) http.Handler {
	want := sha256.Sum256([]byte(key.Reveal())) // equal lengths compare in constant time
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
			got := sha256.Sum256([]byte(token))
			if subtle.ConstantTimeCompare(got[:], want[:]) != 1 || key.IsZero() ||
				!strings.EqualFold(scheme, "Bearer") || len(r.Header["Authorization"]) != 1 {
				w.Header().Set("WWW-Authenticate", `Bearer realm="keepin"`)
				writeProblem(w, answerFor(errUnauthorized), "")
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

// TokenSource gives out live access tokens.
type TokenSource interface {
	// Token is an access token with at least minLeft to live, renewed where
	// that is needed, and the grant it is of.
	Token(ctx context.Context, id keeper.MemberID, minLeft time.Duration) (secret.String, keeper.Grant, error)
}

// maxMinSeconds is the most that a back end may ask a token to live.
const maxMinSeconds = 86400

// Token is GET /members/{id}/token?min_seconds=: the one answer with a token in it.
func Token(s *Site, k TokenSource) http.Handler {
	return s.handle(func(w http.ResponseWriter, r *http.Request) error {
		q, err := query(r, "min_seconds")
		if err != nil {
			return err
		}
		least := 60
		if q.Has("min_seconds") {
			if least, err = parseSeconds(q.Get("min_seconds")); err != nil {
				return err
			}
		}
		id, err := memberID(r)
		if err != nil {
			return err
		}
		token, g, err := k.Token(r.Context(), id, time.Duration(least)*time.Second)
		if err != nil {
			return unavailable(fmt.Errorf("get a token: %w", err))
		}
		writeJSON(w, http.StatusOK, struct {
			AccessToken string   `json:"access_token"`
			TokenType   string   `json:"token_type"`
			ExpiresAt   string   `json:"expires_at"`
			Scopes      []string `json:"scopes"`
		}{token.Reveal(), "Bearer", seconds(g.Access.ExpiresAt), scopesOf(g)})
		return nil
	})
}

func parseSeconds(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 || n > maxMinSeconds || strconv.Itoa(n) != s {
		return 0, fmt.Errorf("%w: min_seconds is not 0 to %d", errBadRequest, maxMinSeconds)
	}
	return n, nil
}

// Grants reads grants.
type Grants interface {
	Grant(ctx context.Context, id keeper.MemberID) (keeper.Grant, error)
	// Inspect asks LinkedIn first whether the access token is still honoured,
	// at most once a minute per member.
	Inspect(ctx context.Context, id keeper.MemberID) (keeper.Grant, error)
}

// Member is GET /members/{id}[?fresh=1].
func Member(s *Site, k Grants) http.Handler {
	return s.handle(func(w http.ResponseWriter, r *http.Request) error {
		q, err := query(r, "fresh")
		if err != nil {
			return err
		}
		fresh, err := flag(q, "fresh")
		if err != nil {
			return err
		}
		id, err := memberID(r)
		if err != nil {
			return err
		}
		get := k.Grant
		if fresh {
			get = k.Inspect
		}
		g, err := get(r.Context(), id)
		if err == nil && g.State(s.now()) == keeper.StateSignedOut {
			err = keeper.ErrNotFound
		}
		if err != nil {
			return unavailable(fmt.Errorf("read a member: %w", err))
		}
		s.writeMember(w, g)
		return nil
	})
}

// DeleteMember is DELETE /members/{id}: it signs the member out everywhere, and
// is content with one that is not there.
func DeleteMember(s *Site, k SignOuts) http.Handler {
	return s.handle(func(w http.ResponseWriter, r *http.Request) error {
		id, err := memberID(r)
		if err == nil {
			err = k.SignOut(r.Context(), id)
		}
		if err != nil && !errors.Is(err, keeper.ErrNotFound) {
			return unavailable(fmt.Errorf("sign out: %w", err))
		}
		if err == nil {
			s.cfg.Log.InfoContext(r.Context(), "member signed out", "member", id, "by", "the back end")
		}
		w.WriteHeader(http.StatusNoContent)
		return nil
	})
}

// memberID is the path's. One that is malformed names nobody.
func memberID(r *http.Request) (keeper.MemberID, error) {
	id, err := keeper.ParseMemberID(r.PathValue("id"))
	if err != nil {
		return "", keeper.ErrNotFound
	}
	return id, nil
}

// Redeem is POST /redeem {"ticket"}: which member a ticket of the return
// address stands for, once.
func Redeem(s *Site, sessions *session.Manager, k Grants) http.Handler {
	return s.handle(func(w http.ResponseWriter, r *http.Request) error {
		ticket, err := readText(r, "ticket")
		if err != nil {
			return err
		}
		g, err := sessions.Redeem(r.Context(), ticket, k.Grant)
		if err != nil {
			return unavailable(err)
		}
		s.writeMember(w, g)
		return nil
	})
}

// readText reads the one member of the body's one object, by its exact name:
// encoding/json alone would take "TICKET", and the last of two.
func readText(r *http.Request, name string) (string, error) {
	bad := fmt.Errorf("%w: the body is not {%q: \"...\"}", errBadRequest, name)
	if !isJSON(r) {
		return "", bad
	}
	d := json.NewDecoder(io.LimitReader(r.Body, maxBody))
	var tokens [4]any
	for i := range tokens {
		token, err := d.Token()
		if err != nil {
			return "", bad
		}
		tokens[i] = token
	}
	text, ok := tokens[2].(string)
	if _, err := d.Token(); !errors.Is(err, io.EOF) || !ok || tokens[0] != json.Delim('{') || tokens[1] != name || tokens[3] != json.Delim('}') {
		return "", bad
	}
	return text, nil
}

func isJSON(r *http.Request) bool {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return err == nil && kind == "application/json"
}
