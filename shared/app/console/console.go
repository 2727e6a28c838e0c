// Package console is the wiring of an operator's verbs on AWS: the table and
// the keyset of the deployed stack, with whatever credentials the AWS SDK finds
// for a person. No function links it.
package console

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"

	"github.com/keepin/keepin/shared/awsjson"
	"github.com/keepin/keepin/shared/dynamo"
	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/operator"
	"github.com/keepin/keepin/shared/secret"
	"github.com/keepin/keepin/shared/secrets"
)

const (
	// PruneAfter is how long after a change of the keyset no key is dropped. An
	// environment reads the keyset anew within 10 minutes of work; one that was
	// frozen, or could not read it, seals with what it holds. Lambda keeps none
	// for a day.
	PruneAfter = 24 * time.Hour
	// callFor bounds one call with its repetitions: a page of a scan is 1 MB, and
	// an operator may be far from the Region.
	callFor = 30 * time.Second
	// dollars is what a million read request units cost (us-east-1, on demand).
	dollars = 0.125
)

// Config says where the stack keeps its data.
type Config struct {
	Table  string // DynamoDB's
	Keyset string // name or ARN of the secret; "": the verbs on keys say that it is missing
	// ReadUnits is how many read request units a second a search of the table may
	// use; 0: as many as it gets.
	ReadUnits int
	// Addresses of DynamoDB and Secrets Manager; "": their own in the Region.
	Endpoint, SecretsEndpoint string
	// Load finds Region and credentials; nil: the SDK, in the environment, the
	// profile (SSO, too) or the machine's role.
	Load func(context.Context) (aws.Config, error)
	Now  func() time.Time // nil: time.Now
}

// Operate does what an operator asks, with the words of operator.Do. It answers
// with text for a person; its errors are sentences.
func Operate(ctx context.Context, c Config, words ...string) (string, error) {
	o, region, err := open(ctx, c)
	if err != nil {
		return "", err
	}
	text, err := o.Do(ctx, words...)
	return text, explain(c, region, err)
}

func open(ctx context.Context, c Config) (*operator.Operator, string, error) {
	load := c.Load
	if load == nil {
		load = func(ctx context.Context) (aws.Config, error) { return config.LoadDefaultConfig(ctx) }
	}
	a, err := load(ctx)
	if err != nil {
		return nil, "", fmt.Errorf("read the AWS configuration (AWS_PROFILE, ~/.aws/config): %w", err)
	}
	if a.Region == "" {
		return nil, "", errors.New("no AWS Region is named: set AWS_REGION to the stack's, or a region in the profile that AWS_PROFILE names")
	}
	if a.Credentials == nil {
		a.Credentials = aws.AnonymousCredentials{}
	}
	if found, err := a.Credentials.Retrieve(ctx); err != nil || !found.HasKeys() {
		return nil, "", fmt.Errorf("there are no AWS credentials that hold: sign in (aws sso login), or set AWS_PROFILE: %w", errors.Join(err, ctx.Err()))
	}
	table, err := dynamo.Open(dynamo.Config{Table: c.Table, Region: a.Region, Credentials: a.Credentials, Endpoint: c.Endpoint, Now: c.Now, Timeout: callFor})
	if err != nil {
		return nil, "", err
	}
	scan := &dynamo.Scan{Table: table, UnitsPerSecond: c.ReadUnits}
	if c.SecretsEndpoint != "" {
		a.BaseEndpoint = &c.SecretsEndpoint
	}
	return operator.New(operator.Config{
		Store:      store{table, scan},
		Keys:       keyset{secrets.Manager{Client: secrets.NewClient(a), ID: c.Keyset}},
		Where:      "secretsmanager:" + c.Keyset,
		Backup:     "Secrets Manager keeps the keyset before as AWSPREVIOUS, until the next change.",
		PruneAfter: PruneAfter,
		Now:        c.Now,
		Cost: func() string {
			return fmt.Sprintf("Read %d items of the table: %.1f read request units, about %.4f US dollars.\n", scan.Items, scan.Units, scan.Units/1e6*dollars)
		},
	}), a.Region, nil
}

// store is the table, with a search of all that is in it.
type store struct {
	*dynamo.Table
	scan *dynamo.Scan
}

func (s store) Each(ctx context.Context, f func(keeper.Grant) error) error {
	return s.scan.Each(ctx, f)
}

// keyset is a keyset in Secrets Manager.
type keyset struct{ secrets.Manager }

var errNoKeyset = errors.New("KEEPIN_KEYS is not set: it must be secretsmanager:ID, with the stack's output Keyset")

func (k keyset) Read(ctx context.Context) (secret.String, time.Time, error) {
	if k.ID == "" {
		return secret.String{}, time.Time{}, errNoKeyset
	}
	return k.CurrentSince(ctx)
}

// Replace begins anew where another's change came first.
func (k keyset) Replace(ctx context.Context, edit func(secret.String) (secret.String, error)) error {
	if k.ID == "" {
		return errNoKeyset
	}
	for range 20 {
		if err := k.Manager.Replace(ctx, edit); !errors.Is(err, secrets.ErrChanged) {
			return err
		}
	}
	return errors.New("others keep changing the keyset: try again")
}

// explain says what to do about what AWS answered.
func explain(c Config, region string, err error) error {
	const policy = "section 8 of docs/deploy.md has the policy that an operator needs"
	switch awsjson.Code(err) {
	case "AccessDeniedException":
		return fmt.Errorf("these credentials may not do that; %s: %w", policy, err)
	case "ResourceNotFoundException":
		return fmt.Errorf("it is not in %s: is KEEPIN_STORE=dynamodb:%s the stack's output Table, KEEPIN_KEYS its output Keyset, and this its Region and account? %w", region, c.Table, err)
	case "ExpiredTokenException", "UnrecognizedClientException", "InvalidSignatureException", "ExpiredToken", "InvalidClientTokenId":
		return fmt.Errorf("AWS does not take these credentials: sign in again (aws sso login), or set AWS_PROFILE: %w", err)
	}
	return err
}
