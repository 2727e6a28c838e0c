package secrets_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	smtypes "github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/keepin/keepin/shared/secret"
	"github.com/keepin/keepin/shared/secrets"
	"github.com/keepin/keepin/test/aws/awstest"
)

func manager(endpoint, id string) (secrets.Manager, *secretsmanager.Client) {
	c := secretsmanager.New(secretsmanager.Options{Region: awstest.Region, Credentials: awstest.Credentials(), BaseEndpoint: &endpoint, RetryMaxAttempts: 1})
	return secrets.Manager{Client: secrets.NewClient(aws.Config{Region: awstest.Region, Credentials: awstest.Credentials(), BaseEndpoint: &endpoint}), ID: id}, c
}

func to(s string) func(secret.String) (secret.String, error) {
	return func(secret.String) (secret.String, error) { return secret.New(s), nil }
}

// TestManagerKeepsStages runs against a Secrets Manager.
func TestManagerKeepsStages(t *testing.T) {
	m, c := manager(awstest.Ministack(t), "keepin/keys")
	ctx := t.Context()
	expect := func(when, current, previous string) {
		t.Helper()
		now, err := m.Current(ctx)
		before, err2 := m.Previous(ctx)
		if err != nil || err2 != nil || now.Reveal() != current || before.Reveal() != previous {
			t.Errorf("%s: got %q, %v and %q, %v", when, now.Reveal(), err, before.Reveal(), err2)
		}
	}
	if _, err := m.Current(ctx); err == nil || !strings.Contains(err.Error(), "ResourceNotFoundException") {
		t.Errorf("without a secret: got %v", err)
	}
	_, err := c.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: &m.ID, SecretString: aws.String("one")})
	// The server is this test's own: what exists is what the client sent twice.
	if _, twice := errors.AsType[*smtypes.ResourceExistsException](err); err != nil && !twice {
		t.Fatal(err)
	}
	expect("at first", "one", "")
	if err := m.Replace(ctx, to("two")); err != nil {
		t.Fatal(err)
	}
	expect("replaced", "two", "one")
	if err := m.Replace(ctx, func(now secret.String) (secret.String, error) { return secret.New(now.Reveal() + "+three"), nil }); err != nil {
		t.Fatal(err)
	}
	expect("edited", "two+three", "two")
	stop := errors.New("stop")
	if err := m.Replace(ctx, func(secret.String) (secret.String, error) { return secret.String{}, stop }); !errors.Is(err, stop) {
		t.Errorf("an edit that fails: got %v", err)
	}
	expect("not edited", "two+three", "two")
}

// fake is a Secrets Manager that answers each call as told.
func fake(t *testing.T, answer func(call, body string) (int, string)) secrets.Manager {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		_, call, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
		status, text := answer(call, string(b))
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		w.WriteHeader(status)
		io.WriteString(w, text)
	}))
	t.Cleanup(s.Close)
	m, _ := manager(s.URL, "keepin/keys")
	return m
}

// TestReplaceNeverOverwritesAnothers holds that AWSCURRENT is moved only from
// the version that was edited.
func TestReplaceNeverOverwritesAnothers(t *testing.T) {
	var calls []string
	m := fake(t, func(call, body string) (int, string) {
		calls = append(calls, call)
		switch call {
		case "GetSecretValue":
			return 200, `{"SecretString":"one","VersionId":"v-one"}`
		case "PutSecretValue":
			if !strings.Contains(body, `"VersionStages":["keepin-next"]`) {
				t.Errorf("put as %s", body)
			}
			return 200, `{"VersionId":"v-two"}`
		}
		if !strings.Contains(body, `"RemoveFromVersionId":"v-one"`) || !strings.Contains(body, `"MoveToVersionId":"v-two"`) || !strings.Contains(body, `"AWSCURRENT"`) {
			t.Errorf("moved as %s", body)
		}
		return 400, `{"__type":"InvalidParameterException","Message":"the stage is elsewhere"}`
	})
	if err := m.Replace(t.Context(), to("two")); !errors.Is(err, secrets.ErrChanged) {
		t.Errorf("got %v after %v", err, calls)
	}
}

func TestManagerErrorsQuoteNoSecret(t *testing.T) {
	const canary = "canary-of-the-secret"
	for _, tt := range []struct {
		status       int
		answer, want string
	}{
		{400, `{"__type":"AccessDeniedException","Message":"not authorized on resource keepin/keys"}`, "not authorized on resource keepin/keys"},
		{400, `{"__type":"DecryptionFailure","Message":"` + canary + `"}`, "DecryptionFailure"},
		{500, `{"__type":"InternalServiceError","Message":"` + canary + `"}`, "InternalServiceError"},
		{200, `{"SecretBinary":"Y2FuYXJ5"}`, "holds no text"},
		{200, `{"SecretString":"` + canary, "get secret value"},
	} {
		m := fake(t, func(string, string) (int, string) { return tt.status, tt.answer })
		_, err := m.Current(t.Context())
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), canary) {
			t.Errorf("%d %s: got %v", tt.status, tt.answer, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	m := fake(t, func(string, string) (int, string) { return 200, "{}" })
	if _, err := m.Current(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("a caller who left: got %v", err)
	}
}
