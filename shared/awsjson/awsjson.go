// Package awsjson calls AWS services that speak AWS's JSON protocol: DynamoDB,
// Secrets Manager, EventBridge. AWS's own code signs; the AWS SDK's clients of
// whole services, of which keepin needs a dozen calls, are not linked: they
// cost a function 1.5 MB and a third of its cold start.
//
// https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html
package awsjson

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	mathrand "math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// Service names a service as its protocol does.
type Service struct {
	Name    string // in its address and in signatures: "dynamodb"
	Target  string // what stands before an operation: "DynamoDB_20120810"
	Version string // of the protocol: "1.0" or "1.1"
}

// Client calls one service. It is safe for concurrent use.
type Client struct {
	service     Service
	region      string
	credentials aws.CredentialsProvider
	url         string
	http        aws.HTTPClient
	signer      *v4.Signer // keeps the day's key
}

// New makes a client of c's Region, credentials, HTTP client (nil: one that
// follows no redirect) and base endpoint (nil: the service's own in the
// Region). It reads nothing else of c, and calls nobody.
func New(c aws.Config, s Service) *Client {
	domain := ".amazonaws.com"
	if strings.HasPrefix(c.Region, "cn-") {
		domain = ".amazonaws.com.cn"
	}
	client := &Client{
		service: s, region: c.Region, credentials: c.Credentials, url: "https://" + s.Name + "." + c.Region + domain + "/",
		http: c.HTTPClient, signer: v4.NewSigner(),
	}
	if c.BaseEndpoint != nil {
		client.url = strings.TrimRight(*c.BaseEndpoint, "/") + "/"
	}
	if client.http == nil {
		client.http = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	}
	return client
}

// Error is an answer that is an error. What AWS says of it may quote the
// request, so Error leaves that out, but for a missing permission, table or
// secret, which it names.
type Error struct {
	Code    string // "ConditionalCheckFailedException"; "" where there was none
	Message string
	Status  int
}

func (e *Error) Error() string {
	switch e.Code {
	case "":
		return "status " + strconv.Itoa(e.Status)
	case "AccessDeniedException", "ResourceNotFoundException":
		return e.Code + ": " + e.Message
	}
	return e.Code
}

// Code is the code of an Error; "" of any other.
func Code(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return ""
}

const (
	attempts  = 3
	maxAnswer = 16 << 20 // a page of DynamoDB is 1 MB, and more as JSON
)

// Call has the operation done with in, and puts the answer into out. A call
// that was throttled, broke, or met a failure of AWS's is made three times at
// most: something that is done only once may then be refused by itself. What
// bounds it is ctx.
func (c *Client) Call(ctx context.Context, operation string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return errors.New("the request cannot be written") // its error may quote it
	}
	for attempt := 1; ; attempt++ {
		err := c.try(ctx, operation, body, out)
		if err == nil || attempt == attempts || !passing(err) {
			return err
		}
		wait := 20 * time.Millisecond << (attempt - 1)
		t := time.NewTimer(wait + mathrand.N(wait)) //nolint:gosec // jitter
		select {
		case <-ctx.Done():
			t.Stop()
			return err
		case <-t.C:
		}
	}
}

// broken is a call without an answer, or without a whole one.
type broken struct{ error }

func (b broken) Unwrap() error { return b.error }

// passing reports whether another attempt may do.
func passing(err error) bool {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Status >= 500 || e.Status == http.StatusTooManyRequests || IsThrottled(err)
	}
	_, ok := errors.AsType[broken](err)
	return ok
}

// IsThrottled reports whether err says that there were too many calls.
func IsThrottled(err error) bool {
	return slices.Contains([]string{"ProvisionedThroughputExceededException", "ThrottlingException", "RequestLimitExceeded", "LimitExceededException"}, Code(err))
}

func (c *Client) try(ctx context.Context, operation string, body []byte, out any) error {
	r, err := c.request(ctx, operation, body)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(r)
	if err != nil {
		return broken{err}
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return broken{fmt.Errorf("read the answer: %w", err)}
	}
	// DynamoDB's checksum of what it sent.
	if sum := resp.Header.Get("X-Amz-Crc32"); sum != "" && sum != strconv.FormatUint(uint64(crc32.ChecksumIEEE(answer)), 10) {
		return broken{errors.New("the answer's checksum is wrong")}
	}
	if resp.StatusCode != http.StatusOK {
		return failure(resp, answer)
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return broken{errors.New("the answer cannot be read")} // its error may quote it
	}
	return nil
}

func (c *Client) request(ctx context.Context, operation string, body []byte) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("address of %s: %w", c.service.Name, err)
	}
	r.Header.Set("Content-Type", "application/x-amz-json-"+c.service.Version)
	r.Header.Set("X-Amz-Target", c.service.Target+"."+operation)
	r.Header.Set("Accept-Encoding", "identity")
	who, err := c.credentials.Retrieve(ctx)
	if err != nil {
		return nil, fmt.Errorf("credentials: %w", err)
	}
	sum := sha256.Sum256(body)
	// AWS holds a signature against its own clock: no other than the machine's will do.
	if err := c.signer.SignHTTP(ctx, who, r, hex.EncodeToString(sum[:]), c.service.Name, c.region, time.Now()); err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	return r, nil
}

// failure reads an error, as "com.amazonaws.dynamodb.v20120810#Name" or "Name:http://...".
func failure(resp *http.Response, answer []byte) error {
	var said struct {
		Type    string `json:"__type"`
		Message string `json:"message"` // some services write it with a capital: encoding/json takes both
	}
	_ = json.Unmarshal(answer, &said)
	code := said.Type
	if h := resp.Header.Get("X-Amzn-ErrorType"); h != "" {
		code = h
	}
	code, _, _ = strings.Cut(code, ":")
	return &Error{Code: code[strings.LastIndexByte(code, '#')+1:], Message: said.Message, Status: resp.StatusCode}
}
