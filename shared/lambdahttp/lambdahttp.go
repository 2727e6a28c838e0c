// Package lambdahttp lets an http.Handler answer the events of a Lambda
// function: requests of an API Gateway HTTP API (payload 2.0), questions of a
// Lambda authorizer (payload 2.0, simple response) and ticks of a schedule.
package lambdahttp

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"
)

// The errors that Invoke returns. What the Lambda runtime is given is logged
// and handed to whoever invoked the function, so these are all there are.
var (
	ErrEvent     = errors.New("lambdahttp: not an event of this function")
	ErrAuthorize = errors.New("lambdahttp: cannot tell whether the session is valid")
	ErrTick      = errors.New("lambdahttp: the scheduled work failed")
)

// Function is what one Lambda function does: give it to lambda.Start. A field
// that is nil is an event that the function does not answer. It is safe for
// concurrent use when its fields are.
type Function struct {
	// HTTP answers the routes. The path it sees is that of the matched route
	// with its parameters filled in, whatever stage or API mapping the request
	// came by; the request's context carries Lambda's deadline, less 2 s for the
	// answer, and Caller.
	HTTP http.Handler
	// Validate answers GET /validate for an authorizer: with 200 and a member
	// the request is let through, with 401, 403 or 404 it is not, and with any
	// other answer nobody can tell: the gateway then answers 500.
	Validate http.Handler
	// Tick does scheduled work for the shards from to to, both included.
	Tick func(ctx context.Context, from, to int) error
	// Log gets what went wrong; nil discards it.
	Log *slog.Logger
}

// event is what keepin reads of the three events' fields.
//
// https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
// https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-lambda-authorizer.html
type event struct {
	RouteKey        string            `json:"routeKey"`
	RawPath         string            `json:"rawPath"`
	RawQueryString  string            `json:"rawQueryString"`
	Cookies         []string          `json:"cookies"`
	Headers         map[string]string `json:"headers"`
	PathParameters  map[string]string `json:"pathParameters"`
	Body            string            `json:"body"`
	IsBase64Encoded bool              `json:"isBase64Encoded"`
	RequestContext  struct {
		Stage string `json:"stage"`
		HTTP  struct {
			Method   string `json:"method"`
			SourceIP string `json:"sourceIp"`
		} `json:"http"`
		Authorizer struct {
			IAM *struct {
				UserARN string `json:"userArn"`
			} `json:"iam"`
		} `json:"authorizer"`
	} `json:"requestContext"`

	Type     string `json:"type"` // "REQUEST": an authorizer is asked
	RouteARN string `json:"routeArn"`

	From *int `json:"from"` // a tick
	To   *int `json:"to"`
}

// answerNeeds is how long before Lambda's deadline all work ends: what comes
// later than that would not be answered by us, but by the gateway.
const answerNeeds = 2 * time.Second

// Invoke answers one event. An HTTP event always gets a whole response and no
// error, be the event broken or the handler panicking.
func (f Function) Invoke(ctx context.Context, raw []byte) ([]byte, error) {
	if end, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, end.Add(-answerNeeds))
		defer cancel()
	}
	var e event
	broken := json.Unmarshal(raw, &e) != nil
	switch {
	case f.Tick != nil && !broken && e.From != nil && e.To != nil:
		return f.tick(ctx, *e.From, *e.To)
	case f.Validate != nil && !broken && e.Type == "REQUEST" && e.RouteARN != "":
		return f.authorize(ctx, e)
	case f.HTTP != nil:
		return f.serve(ctx, e, broken).encode()
	}
	f.log().ErrorContext(ctx, "not an event of this function")
	return nil, ErrEvent
}

func (f Function) serve(ctx context.Context, e event, broken bool) response {
	if broken {
		return problem(http.StatusBadRequest, "bad_request")
	}
	r, refused := request(ctx, e)
	if refused != 0 {
		return problem(refused, codes[refused])
	}
	w := &recorder{header: http.Header{}}
	if !f.run(ctx, f.HTTP, w, r) || w.over {
		return problem(http.StatusInternalServerError, "internal")
	}
	return w.response(r.Method)
}

// run calls h and reports whether it came back without a panic. What was
// panicked with may quote a secret, so only where is logged.
func (f Function) run(ctx context.Context, h http.Handler, w http.ResponseWriter, r *http.Request) (ok bool) {
	defer func() {
		if !ok && recover() != nil {
			f.log().ErrorContext(ctx, "panic", "stack", string(debug.Stack()))
		}
	}()
	h.ServeHTTP(w, r)
	return true
}

// authorize asks Validate who sends these cookies. No other header of the
// request goes along: the session alone decides.
func (f Function) authorize(ctx context.Context, e event) ([]byte, error) {
	r := newRequest(ctx, http.MethodGet, "/validate")
	r.Header.Set("Accept", "application/json")
	setCookies(r, e.Cookies)
	w := &recorder{header: http.Header{}}
	if !f.run(ctx, f.Validate, w, r) {
		return nil, ErrAuthorize
	}
	switch w.code() {
	case http.StatusOK:
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound:
		return []byte(`{"isAuthorized":false}`), nil
	default:
		f.log().ErrorContext(ctx, "the authorizer cannot tell", "status", w.code())
		return nil, ErrAuthorize
	}
	var answer struct {
		Member struct {
			ID  string `json:"id"`
			Sub string `json:"sub"`
		} `json:"member"`
		Grant struct {
			Scopes []string `json:"scopes"`
		} `json:"grant"`
	}
	if json.Unmarshal(w.body.Bytes(), &answer) != nil || answer.Member.ID == "" {
		f.log().ErrorContext(ctx, "the authorizer was answered without a member")
		return nil, ErrAuthorize
	}
	if answer.Grant.Scopes == nil {
		answer.Grant.Scopes = []string{}
	}
	return json.Marshal(map[string]any{
		"isAuthorized": true,
		"context": map[string]any{
			"member": answer.Member.ID,
			"sub":    answer.Member.Sub,
			"scopes": answer.Grant.Scopes,
		},
	})
}

func (f Function) tick(ctx context.Context, from, to int) (_ []byte, err error) {
	defer func() {
		if v := recover(); v != nil {
			f.log().ErrorContext(ctx, "panic", "stack", string(debug.Stack()))
			err = ErrTick
		}
	}()
	if err := f.Tick(ctx, from, to); err != nil {
		f.log().ErrorContext(ctx, "scheduled work failed", "error", err)
		return nil, ErrTick
	}
	return []byte("null"), nil
}

func (f Function) log() *slog.Logger {
	if f.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return f.Log
}
