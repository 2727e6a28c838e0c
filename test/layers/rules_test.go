package layers_test

// module is this module's path. Packages stand in the tables without it.
const module = "github.com/keepin/keepin/"

// mayImport says which packages of keepin a package may import. "*" is any of
// shared/. A package that is missing here is a failure: a new one needs a line.
var mayImport = []struct {
	packages, imports []string
	because           string
}{
	{list("shared/secret", "shared/config", "shared/lambdahttp", "shared/awsenv", "shared/awsjson"), nil,
		"it knows nothing of keepin, and anybody may use it"},
	{list("shared/keeper"), list("shared/secret"),
		"the domain says what it needs; others bring it"},
	{list("shared/session"), list("shared/keeper", "shared/secret"),
		"it stands on the domain, and says itself which store it needs"},
	{list("shared/web"), list("shared/keeper", "shared/session", "shared/secret"),
		"handlers speak the domain's words, and no adapter's"},
	{list("shared/bolt", "shared/storetest"), list("shared/keeper", "shared/session"),
		"a store holds sealed bytes: it needs no secret, and no other adapter"},
	{list("shared/dynamo"), list("shared/keeper", "shared/session", "shared/awsjson"),
		"a store holds sealed bytes: it needs no secret, and no other adapter"},
	{list("shared/linkedin", "shared/seal"), list("shared/keeper", "shared/secret"),
		"an adapter speaks the domain's words, and imports no other adapter"},
	{list("shared/events"), list("shared/keeper", "shared/awsjson"),
		"an adapter speaks the domain's words, and imports no other adapter"},
	{list("shared/operator"), list("shared/keeper", "shared/seal", "shared/secret"),
		"verbs speak of grants and keys, not of where they are kept"},
	{list("shared/telemetry", "shared/linkedinsim"), list("shared/secret"),
		"it works without the domain"},
	{list("shared/secrets"), list("shared/secret", "shared/awsjson"),
		"it works without the domain"},
	{list("shared/app", "shared/app/work", "shared/app/console", "shared/local"), list("*"),
		"it is the wiring"},
	{list("functions/callback", "functions/logout", "functions/members", "functions/refresh", "functions/validate", "cmd/keepin"), list("*"),
		"it is a program"},
	{list("docs/cost"), list("shared/keeper"),
		"it lives a year of the domain's"},
	{list("client"), nil,
		"applications import it, and must not get the server with it"},
}

// onlyIn says where a foreign package, or all below it, may be imported.
var onlyIn = []struct {
	imports  string
	packages []string
	because  string
	alone    bool // not what lies below it
	tests    bool // tests, too
}{
	{imports: "net/http", packages: list("shared/awsenv", "shared/awsjson", "shared/bolt", "shared/dynamo", "shared/events", "shared/lambdahttp", "shared/linkedin", "shared/linkedinsim",
		"shared/session", "shared/web", "shared/app", "shared/app/work", "shared/local", "cmd/keepin", "client", "functions/validate"),
		because: "the domain and what it is made of know no HTTP"},
	{imports: "github.com/aws", packages: list("shared/awsenv", "shared/awsjson", "shared/dynamo", "shared/events", "shared/secrets", "shared/app", "shared/app/work", "shared/app/console", "shared/lambdahttp"),
		because: "the domain, the handlers and one machine know no AWS"},
	{imports: "github.com/aws/aws-sdk-go-v2/config", packages: list("shared/app/console"), because: "a person has profiles; a function has its environment (shared/awsenv)"},
	{imports: "github.com/aws/aws-sdk-go-v2/service", because: "docs/adr/0012: shared/awsjson calls the services"},
	{imports: "golang.org/x/oauth2", packages: list("shared/linkedin", "client"), because: "docs/adr/0005"},
	{imports: "github.com/coreos/go-oidc", packages: list("shared/linkedin"), because: "docs/adr/0005"},
	{imports: "github.com/go-jose/go-jose", packages: list("shared/linkedin"), because: "docs/adr/0005"},
	{imports: "go.etcd.io/bbolt", packages: list("shared/bolt"), because: "one package knows the file"},
	{imports: "github.com/urfave/cli", packages: list("cmd/keepin"), because: "packages take arguments, not flags"},
	{imports: "math/rand", packages: list("shared/awsjson", "shared/storetest"), because: "what must not be guessed comes from crypto/rand; jitter and a test's dice may"},
	{imports: "log", alone: true, because: "logs are log/slog, handed in"},
	{imports: "unsafe", because: "nothing here needs it"},
	{imports: "testing", packages: list("shared/storetest"), because: "test code does not ship"},
	{imports: "github.com/stretchr", tests: true, because: "tests use testing alone"},
	{imports: "go.uber.org", tests: true, because: "no mocks, containers or loggers of others"},
	{imports: "github.com/golang/mock", tests: true, because: "fakes keep the contract; generated mocks do not"},
}

// linksOnly says all that a program links, by way of others too, besides the
// standard library: package initialisers are a function's cold start, and its
// policy names no rights for more. Of a foreign package, what lies below it is
// meant too.
var linksOnly = []struct {
	programs, links []string
	because         string
}{
	{list("functions/validate"), everyFunctionLinks, "it reads the table, and no more"},
	{list("functions/callback", "functions/logout", "functions/members", "functions/refresh"),
		append(list("shared/app/work", "shared/events", "shared/linkedin", "shared/seal", "shared/secrets",
			"golang.org/x/oauth2", "github.com/coreos/go-oidc", "github.com/go-jose/go-jose"), everyFunctionLinks...),
		"Lambda has no file and no simulator, and no function is an operator; looking for profiles is a fifth of a cold start, and the SDK's services are a third (docs/performance.md)"},
}

var everyFunctionLinks = list("shared/app", "shared/awsenv", "shared/awsjson", "shared/config", "shared/dynamo", "shared/keeper",
	"shared/lambdahttp", "shared/secret", "shared/session", "shared/telemetry", "shared/web",
	"github.com/aws/aws-lambda-go", "github.com/aws/aws-sdk-go-v2/aws", "github.com/aws/aws-sdk-go-v2/internal", "github.com/aws/smithy-go")

// notUsed says which names only some packages or files may use.
var notUsed = []struct {
	names   []string // of other packages as written there, methods with a dot before, or builtins
	call    bool     // only a call is meant: the bare name may stand as a default
	but     []string // packages, folders (with /...), or files
	because string
}{
	{names: list("time.Now"), call: true, but: list("shared/linkedinsim/clock.go", "shared/app/clock_lambdahost.go", "shared/awsjson", "cmd/..."),
		because: "the clock is handed in; time.Now stands only as its default"},
	{names: list("time.Since", "time.Until"), call: true, but: list("shared/keeper/pass.go", "shared/keeper/work.go", "cmd/..."),
		because: "the clock is handed in; only what a context leaves is measured by the machine's"},
	{names: list("time.Sleep", "time.Tick"), because: "a wait ends with its context"},
	{names: list("os.Getenv", "os.LookupEnv", "os.Environ"), but: list("shared/app", "shared/app/work", "cmd/...", "functions/..."),
		because: "the environment is read once, by the wiring, and handed on"},
	{names: list("os.Setenv", "os.Unsetenv", "os.Chdir"), because: "that changes every package's world"},
	{names: list("os.Exit", "log.Fatal", "log.Fatalf", "log.Fatalln", "log.Panic"), but: list("cmd/...", "docs/cost"),
		because: "only a program's main decides its end"},
	{names: list("panic"), but: list("shared/web/mux.go", "shared/linkedinsim/fault.go", "shared/linkedinsim/roundtrip.go"),
		because: "an error is returned"},
	{names: list(".Reveal"), but: list("shared/secret", "shared/linkedin", "shared/seal", "shared/secrets", "shared/session", "shared/web/members.go", "shared/telemetry/hide.go", "client", "cmd/..."),
		because: "a secret is revealed at the wire, where it is sealed or searched for, and in a cookie"},
	{names: list("http.DefaultClient", "http.DefaultTransport", "http.Get", "http.Post", "http.PostForm", "http.Head", "http.DefaultServeMux", "http.Handle", "http.HandleFunc"),
		because: "a client has a deadline and follows no redirect, and a mux belongs to somebody"},
	{names: list("slog.Default", "slog.SetDefault", "slog.Info", "slog.Warn", "slog.Error", "slog.Debug"), because: "the logger is handed in"},
	{names: list("fmt.Print", "fmt.Printf", "fmt.Println", "println", "print"), but: list("cmd/..."), because: "packages return, or log to what they were handed"},
	{names: list("ioutil.ReadAll"), because: "a foreign body is read through a limit"},
}

// neverAnywhere are words that no Go file holds, tests too.
var neverAnywhere = map[string]string{
	"InsecureSkipVerify": "certificates are verified",
}

// startsAs is how a package variable may begin: as what nobody can change
// unseen. Composite literals and plain values may, too; a pointer, make, new, a
// channel and a sync type may not.
var startsAs = list("errors.New", "fmt.Errorf", "regexp.MustCompile", "template.Must", "strings.NewReplacer", "strings.Fields", "time.Date", "netip.MustParsePrefix")

func list(s ...string) []string { return s }
