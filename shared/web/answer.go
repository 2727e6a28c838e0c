package web

import (
	"cmp"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"

	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/session"
)

// answer is what a client is told of a failure: all of it fixed.
type answer struct {
	status int
	code   string
	detail string
	// What a page says, where the detail is not for a member.
	title, lead string
}

// The answers that no error of another package stands for.
var (
	errBadRequest   = errors.New("web: the request is malformed")
	errUnauthorized = errors.New("web: no back-end key")
	errCrossSite    = errors.New("web: a request from another site")
	errNotFound     = errors.New("web: no such path")
	errMethod       = errors.New("web: no such method")
	errTooLarge     = errors.New("web: the request is too large")
	errRefused      = errors.New("web: LinkedIn refused the code")
	errSDKCookie    = errors.New("web: no SDK cookie that signs anybody in")
	errReconnect    = errors.New("web: the member must sign in again")
	errUpstream     = errors.New("web: LinkedIn answered what it should not")
	errInternal     = errors.New("web: a fault of ours")
)

// answers is the one table from error to answer: the first that errors.Is
// finds. What is not in it is internal.
var answers = []struct {
	err error
	answer
}{
	{session.ErrNone, answer{401, "signed_out", "Nobody is signed in.",
		"You are not signed in", "Sign in with LinkedIn to go on."}},
	{errReconnect, answer{401, "reconnect_required", "The member must sign in again.",
		"Please sign in again", "LinkedIn’s permission for this app has ended. Signing in again renews it."}},
	{errUnauthorized, answer{401, "unauthorized", "The back-end key is missing or wrong.", "", ""}},
	{session.ErrState, answer{400, "bad_state", "This sign-in is unknown here, over, or was finished already.",
		"This sign-in is over", "It took too long, was finished already, or began in another browser."}},
	{session.ErrTicket, answer{400, "bad_ticket", "The ticket is not ours, was used, is too old, or its member has signed out.", "", ""}},
	{errRefused, answer{400, "code_refused", "LinkedIn did not accept the authorization code.",
		"The sign-in did not work", "LinkedIn no longer accepts this attempt. A new one usually works."}},
	{errSDKCookie, answer{400, "bad_sdk_cookie", "The cookie of LinkedIn's SDK is missing, malformed, not signed by LinkedIn, used before, or refused by LinkedIn.", "", ""}},
	{errCrossSite, answer{403, "cross_site", "This request may not come from another site.",
		"That came from another site", "For your safety it was not carried out."}},
	{errNotFound, answer{404, "not_found", "There is nothing here.",
		"There is nothing here", "The address may be mistyped."}},
	{keeper.ErrNotFound, answer{404, "not_connected", "This member is not connected.", "", ""}},
	{errMethod, answer{405, "method_not_allowed", "The method is not one of those in Allow.",
		"That does not work here", "This address cannot be used that way."}},
	{keeper.ErrReconnect, answer{409, "reconnect_required", "The member must sign in again.", "", ""}},
	{errTooLarge, answer{413, "too_large", "The query, the cookies or the body are too large.",
		"That is too large", "If this goes on, delete the cookies of this site and try again."}},
	{errBadRequest, answer{400, "bad_request", "A parameter is missing, malformed, or there twice.",
		"That link does not work", "Something in its address is missing or wrong."}},
	{errUpstream, answer{502, "linkedin_error", "LinkedIn answered what it should not have. The operator has been told.",
		"LinkedIn did not let us finish", "Something between this app and LinkedIn is set up wrongly. Its operator has been told."}},
	{session.ErrPending, answer{503, "try_again", "Not now. Try again in a few seconds.",
		"One moment, please", "The sign-in is still under way. Reload this page in a few seconds."}},
	{keeper.ErrUnavailable, answer{503, "try_again", "Not now. Try again in a few seconds.",
		"One moment, please", "This does not work right now. Please try again in a little while."}},
}

var internal = answer{500, "internal", "Something went wrong here.",
	"Something went wrong", "It is not your fault. Please try again in a little while."}

// answerFor looks err up.
func answerFor(err error) answer {
	for _, a := range answers {
		if errors.Is(err, a.err) {
			return a.answer
		}
	}
	return internal
}

// unavailable is err of a store or of the keeper, where it is not one that the
// table knows: the caller may try again.
func unavailable(err error) error {
	if err == nil || answerFor(err) != internal {
		return err
	}
	return errors.Join(keeper.ErrUnavailable, err)
}

// retryable is a failure whose page offers to start again at a login address.
type retryable struct {
	error
	login string
}

func (r retryable) Unwrap() error { return r.error }

// problem is a body of RFC 9457.
type problem struct {
	Type     string `json:"type"`
	Title    string `json:"title"`
	Status   int    `json:"status"`
	Detail   string `json:"detail,omitempty"`
	Code     string `json:"code"`
	LoginURL string `json:"login_url,omitempty"`
}

// retryAfter is how long a 503 asks to wait, in seconds.
const retryAfter = 5

// fail answers err, and logs it: what failed by us as an error, what a client
// got wrong as information, and what happens all day for debugging.
func (s *Site) fail(w http.ResponseWriter, r *http.Request, err error) {
	a := answerFor(err)
	level := slog.LevelInfo
	switch {
	case a.status >= 500:
		level = slog.LevelError
	case a.status == 401, a.status == 404, a.status == 405:
		level = slog.LevelDebug
	}
	s.cfg.Log.Log(r.Context(), level, "request failed",
		"method", r.Method, "route", r.Pattern, "status", a.status, "code", a.code, "error", err)
	login := ""
	if a.status == 401 {
		login = s.url("/login")
	}
	if t, ok := errors.AsType[retryable](err); ok {
		login = t.login
	}
	if a.title != "" && wantsHTML(r) {
		s.problemPage(w, r, a, login)
		return
	}
	if a.status != 401 {
		login = ""
	}
	writeProblem(w, a, login)
}

func writeProblem(w http.ResponseWriter, a answer, login string) {
	if a.status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", strconv.Itoa(retryAfter))
	}
	w.Header().Set("Content-Type", "application/problem+json")
	writeJSON(w, a.status, problem{
		Type: "about:blank", Title: http.StatusText(a.status), Status: a.status, Detail: a.detail,
		Code: a.code, LoginURL: login,
	})
}

// writeJSON writes v. What does not encode is a fault of ours: there is none.
func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", cmp.Or(w.Header().Get("Content-Type"), "application/json"))
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

// wantsHTML reports whether r comes from somebody who looks at pages.
func wantsHTML(r *http.Request) bool {
	for _, line := range r.Header["Accept"] {
		if strings.Contains(line, "text/html") {
			return true
		}
	}
	return false
}

// redirect sends the browser on with a GET, whatever it came with.
func redirect(w http.ResponseWriter, address string) {
	w.Header().Set("Location", address)
	w.WriteHeader(http.StatusSeeOther)
}
