package secrets

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/keepin/keepin/shared/awsjson"
	"github.com/keepin/keepin/shared/secret"
)

// managerTimeout bounds one call with its repetitions.
const managerTimeout = 3 * time.Second

// ErrChanged: the secret is not the one that was read; read it again.
var ErrChanged = errors.New("replace secret: another was stored meanwhile")

// Manager is one secret in AWS Secrets Manager. Its errors name the call and
// AWS's code, and where a right or the secret is missing AWS's words too; never
// what is in it. Every reading names its stage: not all doubles of the service
// take AWSCURRENT for granted.
type Manager struct {
	Client *awsjson.Client // of NewClient
	ID     string          // name or ARN
}

// NewClient makes a client of Secrets Manager.
func NewClient(c aws.Config) *awsjson.Client {
	return awsjson.New(c, awsjson.Service{Name: "secretsmanager", Target: "secretsmanager", Version: "1.1"})
}

// Current reads what stands now.
func (m Manager) Current(ctx context.Context) (secret.String, error) {
	text, _, err := m.CurrentSince(ctx)
	return text, err
}

// CurrentSince is Current, and when what stands was stored.
func (m Manager) CurrentSince(ctx context.Context) (secret.String, time.Time, error) {
	text, out, err := m.read(ctx, "AWSCURRENT")
	if err != nil {
		return secret.String{}, time.Time{}, err
	}
	return text, time.UnixMilli(int64(out.CreatedDate * 1000)).UTC(), nil
}

// Previous reads what stood before the last change; the zero String where
// nothing did.
func (m Manager) Previous(ctx context.Context) (secret.String, error) {
	text, _, err := m.read(ctx, "AWSPREVIOUS")
	if awsjson.Code(err) == "ResourceNotFoundException" {
		return secret.String{}, nil
	}
	return text, err
}

// Replace changes the secret to what edit makes of it. Two who do so at once
// do not both succeed: the later is told ErrChanged.
func (m Manager) Replace(ctx context.Context, edit func(secret.String) (secret.String, error)) error {
	now, was, err := m.read(ctx, "AWSCURRENT")
	if err != nil {
		return err
	}
	next, err := edit(now)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, managerTimeout)
	defer cancel()
	// The version is stored under no stage first; moving AWSCURRENT to it names
	// the version that it must be moved from, which is the compare-and-swap.
	var put version
	err = m.Client.Call(ctx, "PutSecretValue", map[string]any{
		"SecretId": m.ID, "SecretString": next.Reveal(), "VersionStages": []string{"keepin-next"},
		"ClientRequestToken": rand.Text() + rand.Text(), // a call that is made twice stores one version
	}, &put)
	if err != nil {
		return fmt.Errorf("replace secret: put secret value: %w", err)
	}
	err = m.Client.Call(ctx, "UpdateSecretVersionStage", map[string]any{
		"SecretId": m.ID, "VersionStage": "AWSCURRENT", "MoveToVersionId": put.VersionID, "RemoveFromVersionId": was.VersionID,
	}, &struct{}{})
	if awsjson.Code(err) == "InvalidParameterException" {
		return ErrChanged
	}
	if err != nil {
		return fmt.Errorf("replace secret: update secret version stage: %w", err)
	}
	return nil
}

// version is what Secrets Manager answers of one version of a secret.
type version struct {
	SecretString *string
	VersionID    string
	CreatedDate  float64 // seconds since 1970
}

func (m Manager) read(ctx context.Context, stage string) (secret.String, version, error) {
	ctx, cancel := context.WithTimeout(ctx, managerTimeout)
	defer cancel()
	var out version
	if err := m.Client.Call(ctx, "GetSecretValue", map[string]string{"SecretId": m.ID, "VersionStage": stage}, &out); err != nil {
		return secret.String{}, version{}, fmt.Errorf("read secret: get secret value: %w", err)
	}
	if out.SecretString == nil {
		return secret.String{}, version{}, errors.New("read secret: secretsmanager:" + m.ID + " holds no text")
	}
	return secret.New(*out.SecretString), out, nil
}
