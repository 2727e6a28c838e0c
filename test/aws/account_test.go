package aws_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/keepin/keepin/test/aws/awstest"
)

// account is an AWS account on loopback. Its calls are the root user's.
type account struct{ endpoint string }

// tool runs a program of the SAM installation, or a shell's script, in the
// repository's root, and returns what it said.
func (a account) tool(t testing.TB, stdin string, args ...string) (string, error) {
	t.Helper()
	bin := filepath.Dir(awstest.Tool(t, "sam"))
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
	if found := filepath.Join(bin, args[0]); cmd.Err != nil {
		cmd.Path, cmd.Err = found, nil
	}
	cmd.Dir = "../.."
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "AWS_") })
	cmd.Env = append(cmd.Env,
		"PATH="+bin+":"+os.Getenv("PATH"), "AWS_ENDPOINT_URL="+a.endpoint, "AWS_REGION="+awstest.Region, "AWS_DEFAULT_REGION="+awstest.Region,
		"AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test", "AWS_PAGER=",
		"AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null", "SAM_CLI_TELEMETRY=0", "GOARCH=amd64", "GOFLAGS=-mod=readonly",
	)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (a account) mustTool(t testing.TB, stdin string, args ...string) string {
	t.Helper()
	out, err := a.tool(t, stdin, args...)
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// sign signs r for a service (SigV4).
func sign(t testing.TB, r *http.Request, who aws.Credentials, service string, body []byte) {
	t.Helper()
	sum := sha256.Sum256(body)
	if err := v4.NewSigner().SignHTTP(t.Context(), who, r, hex.EncodeToString(sum[:]), service, awstest.Region, time.Now()); err != nil {
		t.Fatal(err)
	}
}

// call makes one signed call, and returns the status and the body.
func (a account) call(t testing.TB, who aws.Credentials, method, service, path string, body []byte, headers ...string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, a.endpoint+path, bytes.NewReader(body))
	must(t, err)
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	sign(t, req, who, service, body)
	res, err := http.DefaultClient.Do(req)
	must(t, err)
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	must(t, err)
	return res.StatusCode, string(text)
}

// tryQuery calls a service of the Query protocol.
func (a account) tryQuery(t testing.TB, who aws.Credentials, service, version, action string, params ...string) (int, string) {
	t.Helper()
	form := url.Values{"Action": {action}, "Version": {version}}
	for i := 0; i+1 < len(params); i += 2 {
		form.Set(params[i], params[i+1])
	}
	return a.call(t, who, "POST", service, "/", []byte(form.Encode()), "Content-Type", "application/x-www-form-urlencoded")
}

// query is tryQuery that must work; the answer is XML.
func (a account) query(t testing.TB, service, version, action string, params ...string) string {
	t.Helper()
	status, body := a.tryQuery(t, root(t), service, version, action, params...)
	if status != http.StatusOK {
		t.Fatalf("%s:%s: %d %s", service, action, status, body)
	}
	return body
}

// tryJSON calls a service of the JSON protocol.
func (a account) tryJSON(t testing.TB, who aws.Credentials, service, target string, in any) (int, string) {
	t.Helper()
	raw, err := json.Marshal(in)
	must(t, err)
	return a.call(t, who, "POST", service, "/", raw, "Content-Type", "application/x-amz-json-1.0", "X-Amz-Target", target)
}

// json is tryJSON that must work.
func (a account) json(t testing.TB, service, target string, in, out any) {
	t.Helper()
	status, body := a.tryJSON(t, root(t), service, target, in)
	if status != http.StatusOK {
		t.Fatalf("%s: %d %s", target, status, body)
	}
	if out != nil {
		must(t, json.Unmarshal([]byte(body), out))
	}
}

func (a account) iam(t testing.TB, action string, params ...string) string {
	t.Helper()
	return a.query(t, "iam", "2010-05-08", action, params...)
}

// assume gives the credentials of a role.
func (a account) assume(t testing.TB, role string) aws.Credentials {
	t.Helper()
	out := a.query(t, "sts", "2011-06-15", "AssumeRole", "RoleArn", role, "RoleSessionName", "test")
	return aws.Credentials{AccessKeyID: between(t, out, "AccessKeyId"), SecretAccessKey: between(t, out, "SecretAccessKey"), SessionToken: between(t, out, "SessionToken")}
}

// between is the text of the first element of a name in XML that holds no text
// that XML would have to write otherwise.
func between(t testing.TB, xml, name string) string {
	t.Helper()
	m := regexp.MustCompile("<" + name + ">([^<]*)</" + name + ">").FindStringSubmatch(xml)
	if m == nil {
		t.Fatalf("no %s in %s", name, xml)
	}
	return m[1]
}

// outputs are a stack's.
func (a account) outputs(t testing.TB, stack string) map[string]string {
	t.Helper()
	out := map[string]string{}
	body := a.query(t, "cloudformation", "2010-05-15", "DescribeStacks", "StackName", stack)
	for _, m := range regexp.MustCompile(`(?s)<OutputKey>(.*?)</OutputKey>.*?<OutputValue>(.*?)</OutputValue>`).FindAllStringSubmatch(body, -1) {
		out[m[1]] = m[2]
	}
	return out
}

// resources are the physical ids of a stack's resources by logical id, those
// of one type.
func (a account) resources(t testing.TB, stack, kind string) map[string]string {
	t.Helper()
	out := map[string]string{}
	body := a.query(t, "cloudformation", "2010-05-15", "DescribeStackResources", "StackName", stack)
	for _, m := range regexp.MustCompile(`(?s)<member>(.*?)</member>`).FindAllStringSubmatch(body, -1) {
		if between(t, m[1], "ResourceType") == kind {
			out[between(t, m[1], "LogicalResourceId")] = between(t, m[1], "PhysicalResourceId")
		}
	}
	return out
}

func root(t testing.TB) aws.Credentials {
	t.Helper()
	who, err := awstest.Credentials().Retrieve(context.Background())
	must(t, err)
	return who
}

// gateway sends requests to API Gateway's hosts to the account.
type gateway struct{ account }

func (g gateway) RoundTrip(r *http.Request) (*http.Response, error) {
	to, err := url.Parse(g.endpoint)
	if err != nil {
		return nil, err
	}
	in := r.Clone(r.Context())
	in.Host = r.URL.Host
	in.URL.Scheme, in.URL.Host = to.Scheme, to.Host
	return http.DefaultTransport.RoundTrip(in)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually waits for what other processes do by clocks of their own. On a
// slow machine one look may last that long: there are five, whatever they take.
func eventually(t testing.TB, what string, within time.Duration, ok func() bool) {
	t.Helper()
	end := time.Now().Add(within)
	for looks := 1; !ok(); looks++ {
		time.Sleep(50 * time.Millisecond)
		if looks >= 5 && time.Now().After(end) {
			t.Fatalf("waited %s in vain for %s", within, what)
		}
	}
}

// create makes a stack of a template, and returns its outputs.
func (a account) create(t testing.TB, stack, template string, parameters ...string) map[string]string {
	t.Helper()
	body, err := os.ReadFile(template)
	must(t, err)
	params := []string{"StackName", stack, "TemplateBody", string(body), "Capabilities.member.1", "CAPABILITY_IAM"}
	for i := 0; i+1 < len(parameters); i += 2 {
		n := "Parameters.member." + strconv.Itoa(i/2+1)
		params = append(params, n+".ParameterKey", parameters[i], n+".ParameterValue", parameters[i+1])
	}
	a.query(t, "cloudformation", "2010-05-15", "CreateStack", params...)
	eventually(t, "the stack "+stack, time.Minute, func() bool {
		status := between(t, a.query(t, "cloudformation", "2010-05-15", "DescribeStacks", "StackName", stack), "StackStatus")
		if strings.Contains(status, "ROLLBACK") || strings.Contains(status, "FAILED") {
			t.Fatalf("the stack %s is %s", stack, status)
		}
		return status == "CREATE_COMPLETE"
	})
	return a.outputs(t, stack)
}

// guide is what docs/deploy.md tells the reader to type: the one block that
// holds a text, after the function that its later blocks use.
func guide(t testing.TB, holds string) string {
	t.Helper()
	page, err := os.ReadFile("../../docs/deploy.md")
	must(t, err)
	function, found := "", ""
	for _, m := range regexp.MustCompile("(?ms)^```sh\n(.*?)^```").FindAllStringSubmatch(string(page), -1) {
		if strings.HasPrefix(m[1], "out() ") {
			function, _, _ = strings.Cut(m[1], "\nout ")
		}
		if strings.Contains(m[1], holds) {
			if found != "" {
				t.Fatalf("docs/deploy.md says %q twice", holds)
			}
			found = m[1]
		}
	}
	if function == "" || found == "" {
		t.Fatalf("docs/deploy.md does not say %q", holds)
	}
	return "set -eu\ncd " + t.TempDir() + "\n" + function + "\n" + found
}
