// Package awstest starts the AWS stand-ins that test/aws/install.sh installs,
// on a free port of loopback, and ends them with the test.
package awstest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/keepin/keepin/test/tool"
)

// Region is what the stand-ins are called with.
const Region = "us-east-1"

// Credentials are what the stand-ins are called with; they check none.
func Credentials() aws.CredentialsProvider {
	return aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: "test", SecretAccessKey: "test"}, nil
	})
}

// Dynalite starts dynalite, a DynamoDB, and returns its endpoint.
func Dynalite(t testing.TB) string {
	t.Helper()
	exe := installed(t, "dynalite", "dynalite/node_modules/.bin/dynalite")
	port := freePort(t)
	endpoint := "http://127.0.0.1:" + port
	start(t, endpoint, nil, exe, "--port", port, "--createTableMs", "0", "--deleteTableMs", "0", "--updateTableMs", "0")
	return endpoint
}

// Ministack starts ministack, a whole AWS, and returns its endpoint.
func Ministack(t testing.TB) string {
	t.Helper()
	return ministack(t, nil, installed(t, "ministack", "ministack/bin/ministack"))
}

// Account starts ministack as test/aws/localaws.py makes it: what a stack is
// deployed to, with IAM enforced and Credentials as its root user. It answers
// as hosts of amazonaws.com. A minute of a schedule lasts as long as is said.
func Account(t testing.TB, minute time.Duration) string {
	t.Helper()
	return ministack(t, []string{
		"AUTH=true", "AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test",
		"MINISTACK_HOST=" + Region + ".amazonaws.com", fmt.Sprintf("SCHEDULE_MINUTE=%g", minute.Seconds()),
		"PYTHONDONTWRITEBYTECODE=1",
	}, installed(t, "ministack", "ministack/bin/python"), filepath.Join(tools(), "../test/aws/localaws.py"))
}

func ministack(t testing.TB, env []string, args ...string) string {
	t.Helper()
	port := freePort(t)
	endpoint := "http://127.0.0.1:" + port
	start(t, endpoint+"/_ministack/health", append(env,
		"GATEWAY_PORT="+port, "BIND_HOST=127.0.0.1", "IOT_MTLS_ENABLED=0", "SFTP_ENABLED=0", "LOG_LEVEL=ERROR"), args...)
	return endpoint
}

// Tool is the path of a program that test/aws/install.sh sam installs.
func Tool(t testing.TB, name string) string {
	t.Helper()
	return installed(t, "sam", "sam/bin/"+name)
}

// Table makes an empty table of keepin's shape, without TTL, and returns its name.
func Table(t testing.TB, endpoint string) string {
	t.Helper()
	db := dynamodb.New(dynamodb.Options{Region: Region, Credentials: Credentials(), BaseEndpoint: &endpoint})
	name := "keepin-" + rand.Text()
	key := func(name string, kind types.KeyType) types.KeySchemaElement {
		return types.KeySchemaElement{AttributeName: &name, KeyType: kind}
	}
	is := func(name string, kind types.ScalarAttributeType) types.AttributeDefinition {
		return types.AttributeDefinition{AttributeName: &name, AttributeType: kind}
	}
	_, err := db.CreateTable(t.Context(), &dynamodb.CreateTableInput{
		TableName:   &name,
		BillingMode: types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{
			is("pk", types.ScalarAttributeTypeS), is("sk", types.ScalarAttributeTypeS),
			is("ds", types.ScalarAttributeTypeN), is("dt", types.ScalarAttributeTypeN),
		},
		KeySchema: []types.KeySchemaElement{key("pk", types.KeyTypeHash), key("sk", types.KeyTypeRange)},
		GlobalSecondaryIndexes: []types.GlobalSecondaryIndex{{
			IndexName:  aws.String("due"),
			KeySchema:  []types.KeySchemaElement{key("ds", types.KeyTypeHash), key("dt", types.KeyTypeRange)},
			Projection: &types.Projection{ProjectionType: types.ProjectionTypeKeysOnly},
		}},
	})
	// Nobody else has this name: the client sent it twice.
	if _, twice := errors.AsType[*types.ResourceInUseException](err); err != nil && !twice {
		t.Fatalf("awstest: create table: %v", err)
	}
	w := dynamodb.NewTableExistsWaiter(db, func(o *dynamodb.TableExistsWaiterOptions) { o.MinDelay = 20 * time.Millisecond })
	if err := w.Wait(t.Context(), &dynamodb.DescribeTableInput{TableName: &name}, time.Minute); err != nil {
		t.Fatalf("awstest: create table: %v", err)
	}
	return name
}

// installed is the program below .tools.
func installed(t testing.TB, name, path string) string {
	t.Helper()
	path = filepath.Join(tools(), path)
	if _, err := os.Stat(path); err != nil {
		tool.Missing(t, name, "test/aws/install.sh "+name)
	}
	return path
}

func tools() string {
	_, here, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(here), "../../../.tools")
}

func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // a test
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// start runs a server until the test ends, and returns when it answers at url.
// A shell stands between that reads from us: when this process dies, in
// whatever way, it reads the end and takes the server along.
func start(t testing.TB, url string, env []string, args ...string) {
	t.Helper()
	var out buffer
	cmd := exec.Command("sh", append([]string{"-c", `"$@" </dev/null & read -r _; kill $!; wait $!`, "sh"}, args...)...) //nolint:noctx // ends by its input
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.Dir = t.TempDir()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("awstest: %v", err)
	}
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("awstest: %s ended: %v\n%s", args[0], cmd.ProcessState, out.String())
		}
	})
	for range 600 {
		resp, err := http.Get(url) //nolint:noctx,gosec // our own server
		if err == nil {
			_ = resp.Body.Close()
			return
		}
		time.Sleep(50 * time.Millisecond) //nolint:forbidigo // another process has a clock of its own
	}
	t.Fatalf("awstest: %s does not answer at %s\n%s", args[0], url, out.String())
}

type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n, err := b.b.Write(p)
	if err != nil {
		return n, fmt.Errorf("awstest: %w", err)
	}
	return n, nil
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
