package events

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/keepin/keepin/shared/keeper"
)

// webhookTimeout bounds one delivery: a receiver that has more to do answers first.
const webhookTimeout = 5 * time.Second

// Webhook posts each event to the application's own address.
//
// https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md#32-structured-content-mode
type Webhook struct {
	client  http.Client
	url     string
	baseURL string
}

// NewWebhook posts to url the events of the keepin at baseURL. A nil transport
// is one of its own, without a proxy.
func NewWebhook(url, baseURL string, transport http.RoundTripper) *Webhook {
	if transport == nil {
		transport = &http.Transport{MaxIdleConnsPerHost: 2, IdleConnTimeout: time.Minute, MaxResponseHeaderBytes: 16 << 10}
	}
	return &Webhook{
		client: http.Client{
			Transport:     transport,
			Timeout:       webhookTimeout,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		url: url, baseURL: baseURL,
	}
}

// Send posts one event. Any 2xx within 5 s is a receipt; no redirect is
// followed. An error means that the event may or may not have arrived. It does
// not quote the address, which may hold a key of the receiver's.
func (w *Webhook) Send(ctx context.Context, e keeper.Event) error {
	body, err := Encode(w.baseURL, e)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url, bytes.NewReader(body))
	if err != nil {
		return errors.New("post event: the address is no URL")
	}
	req.Header.Set("Content-Type", "application/cloudevents+json; charset=utf-8")
	req.Header.Set("User-Agent", "keepin")
	resp, err := w.client.Do(req)
	if err != nil {
		return fmt.Errorf("post event: %s", problem(err))
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, 4<<10) // so that the connection can be used again
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return fmt.Errorf("post event: status %d", resp.StatusCode)
	}
	return nil
}

// problem is what went wrong, in fixed words.
func problem(err error) string {
	if timeout, ok := errors.AsType[interface {
		error
		Timeout() bool
	}](err); ok && timeout.Timeout() {
		return "no answer in time"
	}
	if errors.Is(err, context.Canceled) {
		return "given up"
	}
	return "no answer"
}

// Log writes events to the log and nowhere else.
type Log struct {
	Logger  *slog.Logger
	BaseURL string
}

// Send logs one event. It fails only for one that cannot be encoded.
func (l Log) Send(ctx context.Context, e keeper.Event) error {
	body, err := Encode(l.BaseURL, e)
	if err != nil {
		return err
	}
	l.Logger.InfoContext(ctx, "event", "event", json.RawMessage(body))
	return nil
}
