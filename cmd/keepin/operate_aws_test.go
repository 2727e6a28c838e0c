package main_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/keepin/keepin/shared/seal"
	"github.com/keepin/keepin/test/aws/awstest"
)

// TestOperatorVerbsOnAWS runs the program as a person does: Region and
// credentials stand in a profile.
func TestOperatorVerbsOnAWS(t *testing.T) {
	endpoint := awstest.Ministack(t)
	table := awstest.Table(t, endpoint)
	sm := secretsmanager.New(secretsmanager.Options{Region: awstest.Region, Credentials: awstest.Credentials(), BaseEndpoint: &endpoint})
	_, err := sm.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String("keepin/keys"), SecretString: aws.String(seal.NewKeyset().Reveal())})
	if _, twice := errors.AsType[*types.ResourceExistsException](err); !twice {
		must(t, err)
	}
	bin, dir := keepin(t), t.TempDir()
	profile := filepath.Join(dir, "config")
	must(t, os.WriteFile(profile, []byte("[profile ann]\nregion = "+awstest.Region+"\naws_access_key_id = test\naws_secret_access_key = test\n"), 0o600))
	env := []string{"KEEPIN_STORE=dynamodb:" + table, "KEEPIN_KEYS=secretsmanager:keepin/keys", "AWS_ENDPOINT_URL=" + endpoint,
		"AWS_CONFIG_FILE=" + profile, "AWS_SHARED_CREDENTIALS_FILE=" + profile, "AWS_PROFILE=ann", "AWS_EC2_METADATA_DISABLED=true"}
	for _, c := range []struct {
		words, env, want string
		code             int
	}{
		{"keys", "", "seals what is new", 0},
		{"keys rotate", "", "Key 2 was added", 0},
		{"keys list", "", "read request units", 0},
		{"keys prune --read-units 100", "", "prune after", 1},
		{"pause", "", "Paused since", 0},
		{"incidents", "", "paused by an operator", 0},
		{"incidents show nobody", "", "no incident of that id", 1},
		{"resume", "", "Not paused", 0},
		{"keys", "KEEPIN_KEYS=", "KEEPIN_KEYS", 2},
		{"keys", "KEEPIN_KEYS=file:/keys.json", "KEEPIN_KEYS", 2},
		{"keys --read-units many", "", "read-units", 2},
		{"pause", "KEEPIN_KEYS=", "Paused since", 0},
		{"pause", "KEEPIN_STORE=dynamodb:elsewhere", "output Table", 1},
		{"keys", "KEEPIN_KEYS=secretsmanager:elsewhere", "output Keyset", 1},
		{"pause", "AWS_PROFILE=", "AWS_REGION", 1},
		{"pause", "AWS_PROFILE=bob", "bob", 1},
	} {
		if code, out := run(t, bin, dir, append(env, c.env), strings.Fields(c.words)...); code != c.code || !strings.Contains(out, c.want) {
			t.Errorf("%s keepin %s: exit %d: %s", c.env, c.words, code, out)
		}
	}
}
