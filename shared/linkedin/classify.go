package linkedin

import (
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/keepin/keepin/shared/keeper"
)

// operation is a kind of call; a set of them in a rule.
type operation int

const (
	opExchange operation = 1 << iota
	opRefresh
	opIntrospect
	opUserinfo
	opRevoke
	opKeys
	opAuthorize
	opSDK // the exchange of the JavaScript SDK's tokens

	opGrant   = opExchange | opRefresh            // the token endpoint
	opSecret  = opGrant | opIntrospect | opRevoke // what carries the client secret
	opAnyCall = opSecret | opUserinfo | opSDK     // keys have a rule of their own: call.failure
)

// String is the operation's name in a Record.
func (o operation) String() string {
	return map[operation]string{
		opExchange: "exchange", opRefresh: "refresh", opIntrospect: "introspect", opUserinfo: "userinfo",
		opRevoke: "revoke", opKeys: "keys", opAuthorize: "authorize", opSDK: "sdk_exchange",
	}[o]
}

// rule is one row of the table below. What a row leaves out matches anything.
type rule struct {
	on       operation
	from, to int    // status, both inclusive
	service  int    // serviceErrorCode of LinkedIn's APIs
	code     string // error of RFC 6749, the string code of LinkedIn's APIs, or an oauth_problem; lower case
	bare     bool   // only an answer without any code
	text     string // part of error_description or message; lower case
	class    keeper.Class
	revoked  bool
}

// rules is the whole judgement of LinkedIn's refusals: the first row that
// matches decides, and what matches none is ClassUnknown, never the member's
// fault. LinkedIn overloads invalid_request, so there the text must decide; it
// is matched loosely, for LinkedIn reserves the right to change texts.
//
// Sources: learn.microsoft.com/en-us/linkedin/shared/authentication
// (authorization-code-flow, programmatic-refresh-tokens, token-introspection)
// and shared/api-guide/concepts/error-handling; the 656xx numbers and the codes
// that differ from the documentation were seen in public issue threads.
var rules = []rule{
	// Whatever was asked.
	{on: opAnyCall, from: 429, to: 429, class: keeper.ClassBusy},
	{on: opAnyCall, from: 500, to: 599, class: keeper.ClassOutage}, // also when LinkedIn cannot check a token

	// The application's own credentials. A code_verifier on the web flow gets
	// the same invalid_client: nothing tells the two apart.
	{on: opSecret, from: 400, to: 499, code: "invalid_client", class: keeper.ClassApplication},
	{on: opSecret, from: 400, to: 499, code: "invalid_client_id", class: keeper.ClassApplication},
	{on: opSecret, from: 400, to: 499, code: "unauthorized_client", class: keeper.ClassApplication},
	{on: opSecret, from: 400, to: 401, text: "client_id is invalid", class: keeper.ClassApplication},
	{on: opSecret, from: 401, to: 401, text: "client authentication failed", class: keeper.ClassApplication},
	{on: opGrant, from: 401, to: 401, bare: true, class: keeper.ClassApplication}, // RFC 6749 section 5.2
	{on: opIntrospect | opRevoke, from: 401, to: 401, class: keeper.ClassApplication},

	// This code.
	{on: opExchange, from: 400, to: 401, text: "authorization code not found", class: keeper.ClassMember},
	{on: opExchange, from: 400, to: 401, text: "does not match authorization code", class: keeper.ClassMember},
	{on: opExchange, from: 400, to: 401, text: "authorization code expired", class: keeper.ClassMember},
	{on: opGrant, from: 400, to: 401, code: "invalid_grant", class: keeper.ClassMember}, // RFC 6749; LinkedIn documents it nowhere

	// This refresh token.
	{on: opRefresh, from: 400, to: 400, text: "refresh token is invalid", class: keeper.ClassMember},

	// The JavaScript SDK's token. The codes are those of OAuth 1.0a's Problem
	// Reporting extension; LinkedIn was seen to send token_rejected alone.
	{on: opSDK, from: 400, to: 401, code: "signature_invalid", class: keeper.ClassApplication},
	{on: opSDK, from: 400, to: 401, code: "consumer_key_unknown", class: keeper.ClassApplication},
	{on: opSDK, from: 400, to: 401, code: "consumer_key_rejected", class: keeper.ClassApplication},
	{on: opSDK, from: 400, to: 401, code: "token_rejected", class: keeper.ClassMember},
	{on: opSDK, from: 400, to: 401, code: "token_expired", class: keeper.ClassMember},
	{on: opSDK, from: 400, to: 401, code: "token_revoked", class: keeper.ClassMember},
	{on: opSDK, from: 400, to: 401, code: "token_used", class: keeper.ClassMember},

	// This access token: by number, by the newer string code, by the
	// documented text.
	{on: opUserinfo, from: 401, to: 401, service: 65600, class: keeper.ClassMember},
	{on: opUserinfo, from: 401, to: 401, service: 65601, class: keeper.ClassMember, revoked: true},
	{on: opUserinfo, from: 401, to: 401, service: 65602, class: keeper.ClassMember},
	{on: opUserinfo, from: 401, to: 401, service: 65604, class: keeper.ClassUnknown}, // none was sent: our fault
	{on: opUserinfo, from: 401, to: 401, code: "invalid_access_token", class: keeper.ClassMember},
	{on: opUserinfo, from: 401, to: 401, code: "revoked_access_token", class: keeper.ClassMember, revoked: true},
	{on: opUserinfo, from: 401, to: 401, code: "expired_access_token", class: keeper.ClassMember},
	{on: opUserinfo, from: 401, to: 401, code: "invalid_token", class: keeper.ClassMember}, // RFC 6750, not LinkedIn
	{on: opUserinfo, from: 401, to: 401, text: "invalid access token", class: keeper.ClassMember},
	{on: opUserinfo, from: 401, to: 401, text: "has been revoked", class: keeper.ClassMember, revoked: true},
	{on: opUserinfo, from: 401, to: 401, text: "expired access token", class: keeper.ClassMember},
	{on: opUserinfo, from: 401, to: 401, text: "token used in the request has expired", class: keeper.ClassMember},
}

// refusal is what an answer that is no success says.
type refusal struct {
	status     int
	service    int
	code, text string // lower case
}

// classify finds the rule for a refusal.
func classify(op operation, r refusal) (class keeper.Class, revoked bool) {
	for _, row := range rules {
		if row.on&op != 0 && row.from <= r.status && r.status <= row.to &&
			(row.service == 0 || row.service == r.service) &&
			(row.code == "" || row.code == r.code) &&
			(!row.bare || r.code == "") &&
			strings.Contains(r.text, row.text) {
			return row.class, row.revoked
		}
	}
	return keeper.ClassUnknown, false
}

// maxRetryAfter caps a Retry-After: beyond it we would rather ask again.
const maxRetryAfter = 6 * time.Hour

// dayLimit finds "... APPLICATION DAY limit ..." and the like.
var dayLimit = regexp.MustCompile(`(^|[^a-z])(day|daily)([^a-z]|$)`)

// retryAt is when LinkedIn says to come back: by Retry-After (seconds or a
// date, RFC 9110 section 10.2.3), or when a daily limit is over, which
// LinkedIn resets at 00:00 UTC. It is zero when LinkedIn does not say.
func retryAt(now time.Time, header http.Header, r refusal) time.Time {
	var wait time.Duration
	after := strings.TrimSpace(header.Get("Retry-After"))
	if seconds, err := strconv.ParseInt(after, 10, 64); err == nil {
		wait = time.Duration(min(max(seconds, 0), int64(maxRetryAfter/time.Second))) * time.Second
	} else if date, err := http.ParseTime(after); err == nil {
		wait = min(date.Sub(now), maxRetryAfter)
	}
	switch {
	case wait > 0:
		return now.Add(wait).UTC().Truncate(time.Microsecond)
	case r.status == http.StatusTooManyRequests && (dayLimit.MatchString(r.text) || dayLimit.MatchString(r.code)):
		return now.UTC().Truncate(24 * time.Hour).Add(24 * time.Hour)
	}
	return time.Time{}
}
