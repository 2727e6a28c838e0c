package linkedin

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/oauth2"

	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/secret"
)

// maxBody bounds every answer.
const maxBody = 1 << 20

// call is one request to LinkedIn and what came of it. It is the RoundTripper
// under x/oauth2 and under our own requests alike: it lets one request through,
// to a configured host only, and keeps the bounded answer. All judgement reads
// what is kept here; the Token and the errors of x/oauth2 are thrown away, for
// they know neither when a refresh token ends nor how to keep a body to
// themselves.
type call struct {
	client   *Client
	op       operation
	clientID string
	known    []secret.String // whatever secret may be sent or echoed
	start    time.Time       // before the request: an issued token is never thought younger
	took     time.Duration

	sent          bool
	method, url   string // without query
	requestHeader http.Header
	form          url.Values

	status int // 0: no answer
	header http.Header
	body   []byte
	broken string // a fixed phrase: why there is no whole answer; "" when there is
}

func (c *Client) newCall(op operation, creds Credentials, known ...secret.String) *call {
	return &call{
		client: c, op: op, clientID: creds.ClientID,
		known: append(known, creds.Secret, creds.Previous),
		start: c.cfg.Now().UTC().Truncate(time.Microsecond),
	}
}

// context makes x/oauth2 use this call.
func (c *call) context(ctx context.Context) context.Context {
	return context.WithValue(ctx, oauth2.HTTPClient, c.httpClient())
}

// httpClient follows no redirect: secrets go where they were meant to go.
func (c *call) httpClient() *http.Client {
	return &http.Client{
		Transport:     c,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// post sends a form.
func (c *call) post(ctx context.Context, address string, form url.Values) {
	c.do(ctx, http.MethodPost, address, strings.NewReader(form.Encode()),
		http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "Accept": {"application/json"}})
}

// get asks once. net/http would repeat a GET that dies on a reused connection,
// unless it has a body that cannot be had again: an empty one will do.
func (c *call) get(ctx context.Context, address string, header http.Header) {
	c.do(ctx, http.MethodGet, address, io.MultiReader(), header)
}

func (c *call) do(ctx context.Context, method, address string, body io.Reader, header http.Header) {
	req, err := http.NewRequestWithContext(ctx, method, address, body)
	if err != nil {
		c.broken = "the address is no address"
		return
	}
	req.Header = header
	if resp, err := c.httpClient().Do(req); err == nil {
		_ = resp.Body.Close()
	}
}

// errNotSent is for http.Client alone; the call itself keeps the phrase.
var errNotSent = errors.New("linkedin: not sent")

// RoundTrip implements http.RoundTripper for one request.
func (c *call) RoundTrip(req *http.Request) (*http.Response, error) {
	if c.sent || !slices.Contains(c.client.origins, origin(req.URL)) {
		if !c.sent {
			c.broken = "the address is not LinkedIn's"
		}
		if req.Body != nil {
			_ = req.Body.Close()
		}
		return nil, errNotSent
	}
	c.sent = true
	c.method = req.Method
	c.url = req.URL.Scheme + "://" + req.URL.Host + req.URL.Path
	c.requestHeader = req.Header.Clone()
	if req.GetBody != nil {
		if body, err := req.GetBody(); err == nil {
			text, _ := io.ReadAll(body)
			c.form, _ = url.ParseQuery(string(text))
		}
	}

	resp, err := c.client.transport.RoundTrip(req)
	if err != nil {
		c.settle(req.Context(), err)
		return nil, errNotSent
	}
	defer func() { _ = resp.Body.Close() }()
	c.status, c.header = resp.StatusCode, resp.Header
	c.body, err = io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err == nil && len(c.body) > maxBody {
		err = errTooLarge
	}
	c.settle(req.Context(), err)
	if err != nil {
		return nil, errNotSent
	}
	kept := *resp
	kept.Body = io.NopCloser(bytes.NewReader(c.body))
	return &kept, nil
}

// settle notes how long it took and, of an error, what kind it was.
func (c *call) settle(ctx context.Context, err error) {
	c.took = c.client.cfg.Now().Sub(c.start)
	if err != nil {
		c.broken = phrase(ctx, err)
	}
}

// failure is the error of a call that brought no success, nil otherwise. What
// a success says is still to be read.
func (c *call) failure() error {
	r := c.refusal()
	switch {
	case c.broken != "" && r.status != http.StatusTooManyRequests:
		return c.fail(trouble{keeper.ClassOutage, c.broken})
	case c.status == http.StatusOK && c.op&(opGrant|opSDK) != 0 && r.code != "":
		return c.fail(trouble{keeper.ClassUnknown, "an error came with status 200"})
	case c.status == http.StatusOK, c.status == http.StatusNoContent && c.op == opRevoke:
		return nil
	case c.op == opKeys:
		return c.fail(trouble{keeper.ClassOutage, "LinkedIn's keys could not be read"})
	}
	class, revoked := classify(c.op, r)
	failed := c.failed(class, "")
	failed.Revoked = revoked
	if class == keeper.ClassBusy || class == keeper.ClassOutage {
		failed.RetryAt = retryAt(c.client.cfg.Now(), c.header, r)
	}
	return failed
}

// refusal reads what an error answer says, in whichever of LinkedIn's shapes;
// nothing of one that is not JSON.
func (c *call) refusal() refusal {
	r := refusal{status: c.status}
	members, err := object(c.body)
	if err != nil {
		if c.op == opSDK { // OAuth 1.0a: a form, or a header
			form, _ := url.ParseQuery(string(c.body))
			r.code = strings.ToLower(or(form.Get("oauth_problem"), c.header.Get("oauth_problem")))
		}
		return r
	}
	r.code = strings.ToLower(or(text(members, "error"), text(members, "code")))
	r.text = strings.ToLower(or(text(members, "error_description"), text(members, "message")))
	if n, ok := number(members["serviceErrorCode"]); ok {
		r.service = int(n)
	}
	if r.code == "" && present(members, "error") {
		r.code = "?" // an error all the same
	}
	return r
}

// trouble is why an answer is not taken: a class and a fixed phrase.
type trouble struct {
	class   keeper.Class
	problem string
}

func (t trouble) Error() string { return t.problem }

var (
	errTooLarge      = errors.New("the answer is too large")
	errNoCredentials = trouble{keeper.ClassOutage, "the client secret could not be read"}
	errNothingToSend = trouble{keeper.ClassUnknown, "nothing to send: the code or token is empty or malformed"}
	errUnguarded     = trouble{keeper.ClassUnknown, "an authorization without state, nonce or verifier"}
	errNoExpiry      = trouble{keeper.ClassUnknown, "LinkedIn does not say when the access token ends"}
)

// fail makes the error of this call of a trouble, and passes on the error of
// another call, such as the one for the keys.
func (c *call) fail(err error) error {
	if other, ok := errors.AsType[*keeper.CallError](err); ok {
		return other
	}
	if t, ok := errors.AsType[trouble](err); ok {
		return c.failed(t.class, t.problem)
	}
	return c.failed(keeper.ClassUnknown, "unexpected")
}

func (c *call) failed(class keeper.Class, problem string) *keeper.CallError {
	return &keeper.CallError{Class: class, Record: c.record(problem)}
}

// phrase names a transport error without quoting it: those of net/http quote
// addresses, and more.
func phrase(ctx context.Context, err error) string {
	timeout, isNet := errors.AsType[net.Error](err)
	_, isName := errors.AsType[*net.DNSError](err)
	_, isCertificate := errors.AsType[*tls.CertificateVerificationError](err)
	_, isRecord := errors.AsType[tls.RecordHeaderError](err)
	_, isAlert := errors.AsType[tls.AlertError](err)
	switch {
	case errors.Is(err, errTooLarge):
		return "the answer is too large"
	case errors.Is(ctx.Err(), context.Canceled):
		return "cancelled by the caller"
	case ctx.Err() != nil, isNet && timeout.Timeout():
		return "time-out"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "connection reset"
	case isName:
		return "the host name could not be resolved"
	case isCertificate, isRecord, isAlert:
		return "TLS failed"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the connection closed early"
	}
	return "the connection failed"
}
