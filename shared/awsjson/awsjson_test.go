package awsjson_test

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/keepin/keepin/shared/awsjson"
	"github.com/keepin/keepin/test/aws/awstest"
)

var secrets = awsjson.Service{Name: "secretsmanager", Target: "secretsmanager", Version: "1.1"}

// client calls h.
func client(t *testing.T, h http.HandlerFunc) *awsjson.Client {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return awsjson.New(aws.Config{Region: awstest.Region, Credentials: awstest.Credentials(), BaseEndpoint: &s.URL}, secrets)
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) Do(r *http.Request) (*http.Response, error) { return f(r) }

func TestARequestIsSignedForItsService(t *testing.T) {
	for region, host := range map[string]string{"eu-central-1": "secretsmanager.eu-central-1.amazonaws.com", "cn-north-1": "secretsmanager.cn-north-1.amazonaws.com.cn"} {
		var got *http.Request
		var body string
		c := awsjson.New(aws.Config{Region: region, HTTPClient: roundTrip(func(r *http.Request) (*http.Response, error) {
			raw, _ := io.ReadAll(r.Body)
			got, body = r, string(raw)
			return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(`{"Answer":"yes"}`))}, nil
		}), Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "AKIA1", SecretAccessKey: "secret", SessionToken: "session"}, nil
		})}, secrets)
		var out struct{ Answer string }
		if err := c.Call(t.Context(), "GetSecretValue", map[string]string{"SecretId": "s"}, &out); err != nil || out.Answer != "yes" {
			t.Fatalf("got %+v, %v", out, err)
		}
		auth := got.Header.Get("Authorization")
		if got.URL.String() != "https://"+host+"/" || got.Method != "POST" || body != `{"SecretId":"s"}` {
			t.Errorf("got %s %s %s", got.Method, got.URL, body)
		}
		if got.Header.Get("X-Amz-Target") != "secretsmanager.GetSecretValue" || got.Header.Get("Content-Type") != "application/x-amz-json-1.1" || got.Header.Get("X-Amz-Security-Token") != "session" {
			t.Errorf("got %v", got.Header)
		}
		if !strings.HasPrefix(auth, "AWS4-HMAC-SHA256 Credential=AKIA1/"+time.Now().UTC().Format("20060102")+"/"+region+"/secretsmanager/aws4_request, SignedHeaders=") || !strings.Contains(auth, "x-amz-target") {
			t.Errorf("got %s", auth)
		}
	}
}

func TestErrorsHaveTheirCode(t *testing.T) {
	for _, tt := range []struct{ header, body, code, message, says string }{
		{"", `{"__type":"com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException","message":"m"}`, "ConditionalCheckFailedException", "m", "ConditionalCheckFailedException"},
		{"", `{"__type":"ResourceNotFoundException","Message":"M"}`, "ResourceNotFoundException", "M", "ResourceNotFoundException: M"},
		{"ResourceNotFoundException:http://internal.amazon.com/coral/", `{"message":"m"}`, "ResourceNotFoundException", "m", "ResourceNotFoundException: m"},
		{"", `<html>`, "", "", "status 400"},
		{"", ``, "", "", "status 400"},
	} {
		c := client(t, func(w http.ResponseWriter, _ *http.Request) {
			if tt.header != "" {
				w.Header().Set("X-Amzn-ErrorType", tt.header)
			}
			w.WriteHeader(400)
			_, _ = io.WriteString(w, tt.body)
		})
		err := c.Call(t.Context(), "Get", struct{}{}, &struct{}{})
		e, ok := errors.AsType[*awsjson.Error](fmt.Errorf("get: %w", err))
		if !ok || e.Code != tt.code || e.Message != tt.message || e.Error() != tt.says || e.Status != 400 || awsjson.Code(err) != tt.code {
			t.Errorf("%s: got %#v", tt.body, err)
		}
	}
	if awsjson.Code(nil) != "" || awsjson.Code(io.EOF) != "" {
		t.Error("another error has a code")
	}
}

// TestWhatPassesIsTriedThreeTimes counts attempts, and has the last one do.
func TestWhatPassesIsTriedThreeTimes(t *testing.T) {
	status := func(code int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(code)
			_, _ = io.WriteString(w, body)
		}
	}
	for name, tt := range map[string]struct {
		fail  http.HandlerFunc
		tries int32
	}{
		"a failure of AWS's": {status(500, `{"__type":"InternalServerError"}`), 3},
		"a bad gateway":      {status(502, ``), 3},
		"throttled":          {status(400, `{"__type":"x#ProvisionedThroughputExceededException"}`), 3},
		"throttled, too":     {status(400, `{"__type":"ThrottlingException"}`), 3},
		"too many":           {status(429, ``), 3},
		"half an answer": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "9")
			_, _ = io.WriteString(w, "{")
		}, 3},
		"no answer": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, 3},
		"not JSON":  {status(200, `{"A":`), 3},
		"a wrong checksum": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Amz-Crc32", "1")
			_, _ = io.WriteString(w, "{}")
		}, 3},
		"a refusal": {status(400, `{"__type":"ConditionalCheckFailedException"}`), 1},
		"no right":  {status(400, `{"__type":"AccessDeniedException"}`), 1},
		"a redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		}, 1},
	} {
		for _, failures := range []int32{tt.tries - 1, 99} {
			var n atomic.Int32
			c := client(t, func(w http.ResponseWriter, r *http.Request) {
				if body, _ := io.ReadAll(r.Body); string(body) != `{"A":"b"}` {
					t.Errorf("%s: sent %s", name, body)
				}
				if n.Add(1) <= failures {
					tt.fail(w, r)
					return
				}
				w.Header().Set("X-Amz-Crc32", fmt.Sprint(crc32.ChecksumIEEE([]byte("{}"))))
				_, _ = io.WriteString(w, "{}")
			})
			err := c.Call(t.Context(), "Put", map[string]string{"A": "b"}, &struct{}{})
			if (err == nil) != (failures < tt.tries) || n.Load() != tt.tries {
				t.Errorf("%s, %d times: got %v after %d tries, want %d", name, failures, err, n.Load(), tt.tries)
			}
		}
	}
}

func TestACallEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var n atomic.Int32
	c := client(t, func(w http.ResponseWriter, _ *http.Request) {
		n.Add(1)
		cancel()
		w.WriteHeader(500)
	})
	if err := c.Call(ctx, "Get", struct{}{}, &struct{}{}); err == nil || n.Load() != 1 {
		t.Errorf("got %v after %d tries", err, n.Load())
	}
	if err := c.Call(ctx, "Get", struct{}{}, &struct{}{}); !errors.Is(err, context.Canceled) || n.Load() != 1 {
		t.Errorf("got %v after %d tries", err, n.Load())
	}
}

func TestErrorsQuoteNothing(t *testing.T) {
	const canary = "canary-secret"
	for _, answer := range []struct {
		status int
		body   string
	}{
		{200, `{"A":"` + canary + `"`}, {200, `{"A":{"` + canary + `":1}}`}, {200, canary}, {400, `{"__type":"ValidationException","message":"` + canary + `"}`}, {400, canary}, {500, canary},
	} {
		c := client(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(answer.status)
			_, _ = io.WriteString(w, answer.body)
		})
		err := c.Call(t.Context(), "Get", map[string]string{"In": canary}, &struct{ A string }{})
		if err == nil || strings.Contains(err.Error(), canary) || err.Error() == "" {
			t.Errorf("%s: got %v", answer.body, err)
		}
	}
	c := client(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"N":424242}`) })
	if err := c.Call(t.Context(), "Get", struct{}{}, &struct{ N int8 }{}); err == nil || strings.Contains(err.Error(), "4242") {
		t.Errorf("a number that does not fit: got %v", err)
	}
	c = client(t, func(http.ResponseWriter, *http.Request) { t.Error("called") })
	if err := c.Call(t.Context(), "Get", map[string]any{canary: func() {}}, &struct{}{}); err == nil || strings.Contains(err.Error(), canary) {
		t.Errorf("got %v", err)
	}
	none := errors.New("no credentials")
	c = awsjson.New(aws.Config{Region: "r", Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return aws.Credentials{}, none })}, secrets)
	if err := c.Call(t.Context(), "Get", struct{}{}, &struct{}{}); !errors.Is(err, none) {
		t.Errorf("got %v", err)
	}
}
