package secrets

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/smithy-go"

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
	Client *secretsmanager.Client
	ID     string // name or ARN
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
	return text, aws.ToTime(out.CreatedDate), nil
}

// Previous reads what stood before the last change; the zero String where
// nothing did.
func (m Manager) Previous(ctx context.Context) (secret.String, error) {
	text, _, err := m.read(ctx, "AWSPREVIOUS")
	if _, none := errors.AsType[*types.ResourceNotFoundException](err); none {
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
	put, err := m.Client.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{
		SecretId: &m.ID, SecretString: aws.String(next.Reveal()), VersionStages: []string{"keepin-next"},
	})
	if err != nil {
		return managerError("replace secret: put secret value", err)
	}
	_, err = m.Client.UpdateSecretVersionStage(ctx, &secretsmanager.UpdateSecretVersionStageInput{
		SecretId: &m.ID, VersionStage: aws.String("AWSCURRENT"), MoveToVersionId: put.VersionId, RemoveFromVersionId: was.VersionId,
	})
	if _, moved := errors.AsType[*types.InvalidParameterException](err); moved {
		return ErrChanged
	}
	return managerError("replace secret: update secret version stage", err)
}

func (m Manager) read(ctx context.Context, stage string) (secret.String, *secretsmanager.GetSecretValueOutput, error) {
	ctx, cancel := context.WithTimeout(ctx, managerTimeout)
	defer cancel()
	out, err := m.Client.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &m.ID, VersionStage: &stage})
	if err != nil {
		return secret.String{}, nil, managerError("read secret: get secret value", err)
	}
	if out.SecretString == nil {
		return secret.String{}, nil, errors.New("read secret: secretsmanager:" + m.ID + " holds no text")
	}
	return secret.New(*out.SecretString), out, nil
}

func managerError(call string, err error) error {
	if err == nil {
		return nil
	}
	api, ok := errors.AsType[smithy.APIError](err)
	if !ok {
		return fmt.Errorf("%s: %w", call, err)
	}
	return &managerFailure{call, api}
}

// managerFailure is an answer of Secrets Manager that is an error.
type managerFailure struct {
	call string
	err  smithy.APIError
}

func (f *managerFailure) Error() string {
	switch code := f.err.ErrorCode(); code {
	case "AccessDeniedException", "ResourceNotFoundException":
		return fmt.Sprintf("%s: %s: %s", f.call, code, f.err.ErrorMessage())
	default:
		return fmt.Sprintf("%s: %s", f.call, code)
	}
}

func (f *managerFailure) Unwrap() error { return f.err }
