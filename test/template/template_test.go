// Package template_test holds the CloudFormation that SAM makes of
// template.yaml to what keepin promises of its deployment.
package template_test

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/keepin/keepin/shared/config"
	"github.com/keepin/keepin/shared/dynamo"
	"github.com/keepin/keepin/shared/seal"
	"github.com/keepin/keepin/shared/secret"
	"github.com/keepin/keepin/test/aws/awstest"
)

const root = "../.."

//go:embed translate.py
var translate string

// stack is a translated template.
type stack struct {
	Resources map[string]*resource
	Outputs   map[string]struct{ Value any }
}

type resource struct {
	Type                string
	Properties          map[string]any
	DependsOn           any
	DeletionPolicy      string
	UpdateReplacePolicy string
}

// of yields the resources of a type, by logical id.
func (s stack) of(kind string) map[string]*resource {
	out := map[string]*resource{}
	for id, r := range s.Resources {
		if r.Type == kind {
			out[id] = r
		}
	}
	return out
}

// at follows keys and indexes into nested maps and lists; nil where one is missing.
func at(v any, path ...any) any {
	for _, p := range path {
		switch key := p.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[key]
		case int:
			l, _ := v.([]any)
			if key >= len(l) {
				return nil
			}
			v = l[key]
		}
	}
	return v
}

func list(v any) []any {
	switch v := v.(type) {
	case nil:
		return nil
	case []any:
		return v
	}
	return []any{v}
}

// target is the logical id that {Ref: X}, {Fn::GetAtt: [X, ...]} or {Fn::Sub: ".../${X...}..."} names last.
func target(v any) string {
	if s, ok := at(v, "Ref").(string); ok {
		return s
	}
	if s, ok := at(v, "Fn::GetAtt", 0).(string); ok {
		return s
	}
	sub, _ := at(v, "Fn::Sub").(string)
	ids := regexp.MustCompile(`\$\{(\w+)`).FindAllStringSubmatch(sub, -1)
	if len(ids) == 0 {
		return ""
	}
	return ids[len(ids)-1][1]
}

// everyString calls f with every string of v, keys excluded.
func everyString(v any, f func(string)) {
	switch v := v.(type) {
	case string:
		f(v)
	case []any:
		for _, x := range v {
			everyString(x, f)
		}
	case map[string]any:
		for _, x := range v {
			everyString(x, f)
		}
	}
}

type complain func(format string, args ...any)

// statements yields the policy statements of a role; one under Fn::If counts as there.
func statements(r *resource) (out []any) {
	for _, p := range list(r.Properties["Policies"]) {
		for _, s := range list(at(p, "PolicyDocument", "Statement")) {
			if yes := at(s, "Fn::If", 1); yes != nil {
				s = yes
			}
			out = append(out, s)
		}
	}
	return out
}

func rolesGrantNothingWholesale(s stack, complain complain) {
	for id, r := range s.of("AWS::IAM::Role") {
		if at(r.Properties, "PermissionsBoundary", "Fn::If", 1, "Ref") != "PermissionsBoundaryArn" {
			complain("%s has no permissions boundary", id)
		}
		for _, arn := range list(r.Properties["ManagedPolicyArns"]) {
			if name, _ := arn.(string); !strings.HasSuffix(name, ":policy/service-role/AWSLambdaBasicExecutionRole") {
				complain("%s has the managed policy %v", id, arn)
			}
		}
		if len(statements(r)) == 0 {
			complain("%s has no statement", id)
		}
		for _, st := range statements(r) {
			if at(st, "Effect") != "Allow" || at(st, "NotAction") != nil || at(st, "NotResource") != nil {
				complain("%s: %v is no plain Allow", id, at(st, "Sid"))
			}
			for _, key := range []string{"Action", "Resource"} {
				if len(list(at(st, key))) == 0 {
					complain("%s: %v has no %s", id, at(st, "Sid"), key)
				}
				everyString(at(st, key), func(v string) {
					if strings.Contains(v, "*") {
						complain("%s: %v has %s %q", id, at(st, "Sid"), key, v)
					}
				})
			}
		}
	}
	for id, p := range s.of("AWS::Lambda::Permission") {
		source := p.Properties["SourceArn"]
		text, _ := at(source, "Fn::Sub").(string)
		if at(source, "Ref") != "AuthorizerSource" && !strings.Contains(text, ":${Api}/") {
			complain("%s lets in %v", id, source)
		}
	}
}

// validateOnlyLooks: the validate role reads members' partitions, named
// attributes only, and has nothing else but its log.
func validateOnlyLooks(s stack, complain complain) {
	sts := statements(s.Resources["ValidateRole"])
	for _, st := range sts {
		switch at(st, "Sid") {
		case "Logs":
		case "Look":
			if !slices.Equal(list(at(st, "Action")), []any{"dynamodb:Query"}) || target(at(st, "Resource")) != "Table" {
				complain("validate may %v on %v", at(st, "Action"), at(st, "Resource"))
			}
			if got := at(st, "Condition", "ForAllValues:StringLike", "dynamodb:LeadingKeys"); got != "M#*" {
				complain("validate may query %v", got)
			}
			if got := at(st, "Condition", "StringEquals", "dynamodb:Select"); got != "SPECIFIC_ATTRIBUTES" {
				complain("validate may select %v", got)
			}
			may, need := list(at(st, "Condition", "ForAllValues:StringEquals", "dynamodb:Attributes")), dynamo.LookAttributes()
			for _, name := range may {
				if !slices.Contains(need, fmt.Sprint(name)) {
					complain("validate may read %v", name)
				}
			}
			for _, name := range need {
				if !slices.Contains(may, any(name)) {
					complain("validate may not read %s", name)
				}
			}
		default:
			complain("validate has the statement %v", at(st, "Sid"))
		}
	}
	if len(sts) != 2 {
		complain("validate has %d statements", len(sts))
	}
}

// keyOpensSecretsOnly: a customer's key, where there is one, decrypts what
// Secrets Manager asks for, for the roles that read secrets.
func keyOpensSecretsOnly(s stack, complain complain) {
	for id, r := range s.of("AWS::IAM::Role") {
		reads, key := false, any(nil)
		for _, st := range list(at(r.Properties, "Policies", 0, "PolicyDocument", "Statement")) {
			reads = reads || at(st, "Sid") == "Secrets"
			if at(st, "Fn::If", 0) == "HasKmsKey" && at(st, "Fn::If", 2, "Ref") == "AWS::NoValue" {
				key = at(st, "Fn::If", 1)
			} else if strings.Contains(fmt.Sprint(st), "kms:") {
				complain("%s has a key without there being one", id)
			}
		}
		if reads != (key != nil) {
			complain("%s reads secrets: %v, and has the key %v", id, reads, key)
		}
		if key != nil && (!slices.Equal(list(at(key, "Action")), []any{"kms:Decrypt"}) || at(key, "Resource", "Ref") != "KmsKeyArn" ||
			at(key, "Condition", "StringEquals", "kms:ViaService", "Fn::Sub") != "secretsmanager.${AWS::Region}.amazonaws.com") {
			complain("%s may %v", id, key)
		}
	}
}

// functionsHaveTheirOwn: role, log group that forgets, source, build rule.
func functionsHaveTheirOwn(s stack, complain complain) {
	rules, err := os.ReadFile(filepath.Join(root, "sam.mk"))
	if err != nil {
		complain("%v", err)
	}
	seen := map[string]string{}
	functions := s.of("AWS::Lambda::Function")
	if len(functions) != 5 {
		complain("%d functions", len(functions))
	}
	for id, f := range functions {
		name := strings.ToLower(strings.TrimSuffix(id, "Function"))
		if !regexp.MustCompile(`(?m)^build-` + id + `: NAME = ` + name + `$`).Match(rules) {
			complain("%s has no build rule", id)
		}
		for kind, owned := range map[string]string{
			"AWS::IAM::Role":      target(f.Properties["Role"]),
			"AWS::Logs::LogGroup": target(at(f.Properties, "LoggingConfig", "LogGroup")),
		} {
			if r := s.Resources[owned]; r == nil || r.Type != kind || seen[owned] != "" {
				complain("%s has no %s of its own: %q, also %q's", id, kind, owned, seen[owned])
			}
			seen[owned] = id
			if kind == "AWS::IAM::Role" && s.Resources[owned] != nil {
				for _, st := range statements(s.Resources[owned]) {
					if at(st, "Sid") == "Logs" && target(at(st, "Resource")) != target(at(f.Properties, "LoggingConfig", "LogGroup")) {
						complain("%s writes to another's log", id)
					}
				}
			}
		}
		if at(f.Properties, "Architectures", 0, "Ref") != "Architecture" {
			complain("%s is for %v", id, f.Properties["Architectures"])
		}
	}
	for id, g := range s.of("AWS::Logs::LogGroup") {
		if g.Properties["RetentionInDays"] == nil {
			complain("%s is kept for ever", id)
		}
	}
}

// routesAreThrottled: each by a limit of its own, named exactly, and made
// before the stage that limits it.
func routesAreThrottled(s stack, complain complain) {
	for id, stage := range s.of("AWS::ApiGatewayV2::Stage") {
		limits, _ := stage.Properties["RouteSettings"].(map[string]any)
		left := maps.Clone(limits)
		for route, r := range s.of("AWS::ApiGatewayV2::Route") {
			key, _ := r.Properties["RouteKey"].(string)
			if at(limits, key, "ThrottlingRateLimit") == nil || at(limits, key, "ThrottlingBurstLimit") == nil {
				complain("%s: %q has no limit", id, key)
			}
			delete(left, key)
			if !slices.Contains(list(stage.DependsOn), any(route)) {
				complain("%s may be made before %s", id, route)
			}
		}
		// Each exchange asks LinkedIn three times.
		if rate, burst := fmt.Sprint(at(limits, "ANY /exchange", "ThrottlingRateLimit")), fmt.Sprint(at(limits, "ANY /exchange", "ThrottlingBurstLimit")); rate != "5" || burst != "10" {
			complain("%s: the exchange is limited to %s, %s at once", id, rate, burst)
		}
		if len(left) > 0 {
			complain("%s limits routes that do not exist: %v", id, left)
		}
		if at(stage.Properties, "DefaultRouteSettings", "ThrottlingRateLimit") == nil {
			complain("%s has no default limit", id)
		}
	}
	if len(s.of("AWS::ApiGatewayV2::Stage")) != 1 {
		complain("no stage")
	}
}

// onlyTheBackEndSigns: members' routes are signed, all of them, and no other;
// the catch-all reaches the function that can only look.
func onlyTheBackEndSigns(s stack, complain complain) {
	want := map[string]string{
		"ANY /": "ValidateFunction", "ANY /badge.js": "ValidateFunction", "ANY /validate": "ValidateFunction", "$default": "ValidateFunction",
		"ANY /login": "CallbackFunction", "ANY /callback": "CallbackFunction", "ANY /exchange": "CallbackFunction",
		"ANY /logout":       "LogoutFunction",
		"GET /members/{id}": "MembersFunction", "DELETE /members/{id}": "MembersFunction", "GET /members/{id}/token": "MembersFunction", "POST /redeem": "MembersFunction",
	}
	for id, r := range s.of("AWS::ApiGatewayV2::Route") {
		key, _ := r.Properties["RouteKey"].(string)
		integration := s.Resources[target(r.Properties["Target"])]
		if integration == nil || integration.Type != "AWS::ApiGatewayV2::Integration" {
			complain("%s leads nowhere", id)
			continue
		}
		function := target(integration.Properties["IntegrationUri"])
		if function != want[key] {
			complain("%q reaches %s", key, function)
		}
		delete(want, key)
		if signed := r.Properties["AuthorizationType"] == "AWS_IAM"; signed != (function == "MembersFunction") {
			complain("%q: signed is %v", key, signed)
		}
		if f := s.Resources[function]; f != nil {
			wait, _ := integration.Properties["TimeoutInMillis"].(float64)
			if works, _ := f.Properties["Timeout"].(float64); works == 0 || wait < 1000*works {
				complain("%s waits %v ms for %s", id, wait, function)
			}
		}
		if integration.Properties["PayloadFormatVersion"] != "2.0" {
			complain("%s has payload %v", id, integration.Properties["PayloadFormatVersion"])
		}
		granted := false
		for _, p := range s.of("AWS::Lambda::Permission") {
			granted = granted || target(p.Properties["FunctionName"]) == function && target(p.Properties["SourceArn"]) == "Api"
		}
		if !granted {
			complain("the API may not call %s", function)
		}
	}
	if len(want) > 0 {
		complain("no route for %v", want)
	}
}

// tlsIsNew: a domain wants TLS 1.2 or later, and no listener redirects from http.
func tlsIsNew(s stack, complain complain) {
	domains := s.of("AWS::ApiGatewayV2::DomainName")
	if len(domains) == 0 {
		complain("there is no domain")
	}
	for id, r := range domains {
		configurations := list(r.Properties["DomainNameConfigurations"])
		if len(configurations) == 0 {
			complain("%s has no configuration", id)
		}
		for _, c := range configurations {
			if policy := at(c, "SecurityPolicy"); policy != "TLS_1_2" {
				complain("%s takes %v", id, policy)
			}
		}
	}
	for id, r := range s.Resources {
		if strings.HasPrefix(r.Type, "AWS::ElasticLoadBalancing") {
			complain("%s is a %s", id, r.Type)
		}
	}
}

// addressIsOne: with a domain of its own, the API is reached by that alone, and
// below the path that the redirect URL has. What the deployer is told is what
// the functions know.
func addressIsOne(s stack, complain complain) {
	for id, f := range s.of("AWS::Lambda::Function") {
		if !reflect.DeepEqual(at(f.Properties, "Environment", "Variables", "KEEPIN_BASE_URL"), s.Outputs["Url"].Value) {
			complain("%s has another address than the output Url", id)
		}
	}
	var url, redirect []string
	everyString(s.Outputs["Url"].Value, func(v string) { url = append(url, strings.ReplaceAll(v, "${BaseUrl}", "BaseUrl")) })
	everyString(s.Outputs["RedirectUrl"].Value, func(v string) {
		redirect = append(redirect, strings.ReplaceAll(strings.TrimSuffix(v, "/callback"), "${BaseUrl}", "BaseUrl"))
	})
	if callbacks := strings.Count(fmt.Sprint(s.Outputs["RedirectUrl"].Value), "/callback"); !slices.Equal(url, redirect) || callbacks != 4 {
		complain("the redirect URLs are of %v, and the addresses %v", redirect, url)
	}
	if closed := at(s.Resources["Api"].Properties, "DisableExecuteApiEndpoint", "Fn::If"); !slices.Equal(list(closed), []any{"HasDomain", true, false}) {
		complain("the API's own address is closed if %v", closed)
	}
	mappings := s.of("AWS::ApiGatewayV2::ApiMapping")
	if len(mappings) != 2 {
		complain("%d mappings", len(mappings))
	}
	for id, m := range mappings {
		if target(m.Properties["ApiId"]) != "Api" || target(m.Properties["Stage"]) != "Stage" || at(m.Properties, "ApiMappingKey", "Fn::If", 1, "Ref") != "BasePath" {
			complain("%s maps %v", id, m.Properties)
		}
	}
}

// nothingCaches: no cache stands in front of sign-in.
func nothingCaches(s stack, complain complain) {
	for id, r := range s.Resources {
		if strings.HasPrefix(r.Type, "AWS::CloudFront::") || strings.HasPrefix(r.Type, "AWS::ApiGateway::") {
			complain("%s is a %s", id, r.Type)
		}
		if r.Type == "AWS::ApiGatewayV2::Authorizer" {
			complain("%s remembers its answers", id)
		}
		everyKey(r.Properties, func(key string) {
			if strings.Contains(strings.ToLower(key), "cach") || strings.Contains(key, "ResultTtl") || key == "CorsConfiguration" {
				complain("%s sets %s", id, key)
			}
		})
	}
}

func everyKey(v any, f func(string)) {
	switch v := v.(type) {
	case []any:
		for _, x := range v {
			everyKey(x, f)
		}
	case map[string]any:
		for k, x := range v {
			f(k)
			everyKey(x, f)
		}
	}
}

// accessLogsHoldNoQuery: the access log is JSON of variables that cannot hold a code, a state or a cookie.
func accessLogsHoldNoQuery(s stack, complain complain) {
	harmless := []string{
		"requestTime", "requestId", "identity.sourceIp", "identity.userArn", "routeKey", "httpMethod", "status", "responseLength",
		"responseLatency", "error.messageString", "authorizer.error", "integrationErrorMessage",
	}
	format, _ := at(s.Resources["Stage"].Properties, "AccessLogSettings", "Format").(string)
	if !json.Valid([]byte(format)) || len(format) > 3000 {
		complain("the access log is no JSON of up to 3 KB: %s", format)
	}
	for _, v := range regexp.MustCompile(`\$context\.([A-Za-z.]+)|\$[a-z]+`).FindAllStringSubmatch(format, -1) {
		if !slices.Contains(harmless, v[1]) {
			complain("the access log holds %s", v[0])
		}
	}
	if target(at(s.Resources["Stage"].Properties, "AccessLogSettings", "DestinationArn")) != "AccessLogs" {
		complain("no access log")
	}
}

// dataIsKept: table and keyset outlive a mistake.
func dataIsKept(s stack, complain complain) {
	for _, id := range []string{"Table", "Keyset"} {
		if r := s.Resources[id]; r.DeletionPolicy != "RetainExceptOnCreate" || r.UpdateReplacePolicy != "Retain" {
			complain("%s goes with the stack", id)
		}
	}
	table := s.Resources["Table"].Properties
	for what, got := range map[string]any{
		"deletion protection":    table["DeletionProtectionEnabled"] == true,
		"point-in-time recovery": at(table, "PointInTimeRecoverySpecification", "PointInTimeRecoveryEnabled") == true,
		"TTL":                    at(table, "TimeToLiveSpecification", "AttributeName") == "x" && at(table, "TimeToLiveSpecification", "Enabled") == true,
		"pay per request":        table["BillingMode"] == "PAY_PER_REQUEST",
		"a cap on the table":     at(table, "OnDemandThroughput", "MaxReadRequestUnits") != nil && at(table, "OnDemandThroughput", "MaxWriteRequestUnits") != nil,
		"a cap on the index":     at(table, "GlobalSecondaryIndexes", 0, "OnDemandThroughput", "MaxWriteRequestUnits") != nil,
		"a keys-only index":      at(table, "GlobalSecondaryIndexes", 0, "Projection", "ProjectionType") == "KEYS_ONLY",
	} {
		if got != true {
			complain("the table has not %s", what)
		}
	}
	secret, _ := s.Resources["ClientSecret"].Properties["SecretString"].(string)
	if !json.Valid([]byte(secret)) || strings.Count(secret, "PUT-YOURS-HERE") != 2 {
		complain("the client secret is %q", secret)
	}
}

// theKeysetIsOne: what CloudFormation generates is a keyset.
func theKeysetIsOne(s stack, complain complain) {
	g := at(s.Resources["Keyset"].Properties, "GenerateSecretString")
	text, _ := at(g, "SecretStringTemplate").(string)
	made := map[string]any{}
	if err := json.Unmarshal([]byte(text), &made); err != nil {
		complain("the keyset's template: %v", err)
	}
	length, _ := at(g, "PasswordLength").(float64)
	made[fmt.Sprint(at(g, "GenerateStringKey"))] = strings.Repeat("x", int(length))
	out, err := json.Marshal(made)
	if err == nil {
		err = seal.Check(secret.New(string(out)))
	}
	// 64 characters of 62 are 381 bits.
	if err != nil || length < 64 {
		complain("%v, with keys of %v characters", err, length)
	}
}

// ownMetrics is the namespace of the metrics that keepin's code emits.
const ownMetrics = "keepin"

// awsMetrics are the metrics of AWS that the template may use.
var awsMetrics = map[string][]string{
	"AWS/Lambda":     {"Errors", "Throttles", "Duration", "Invocations"},
	"AWS/ApiGateway": {"Count", "4xx", "5xx", "Latency"},
	"AWS/Scheduler":  {"TargetErrorCount", "InvocationDroppedCount"},
	"AWS/DynamoDB":   {"ReadThrottleEvents", "WriteThrottleEvents", "ConsumedReadCapacityUnits", "ConsumedWriteCapacityUnits"},
}

// metricsExist: what an alarm or the dashboard looks at is emitted, by the
// code or by AWS, and each trouble that a person must know of has its alarm.
func metricsExist(s stack, complain complain) {
	type metric struct{ namespace, name string }
	used := map[metric][]string{}
	alarmed := map[string]bool{}
	for id, a := range s.of("AWS::CloudWatch::Alarm") {
		add := func(m any) {
			namespace, _ := at(m, "Namespace").(string)
			name, _ := at(m, "MetricName").(string)
			used[metric{namespace, name}] = append(used[metric{namespace, name}], id)
			alarmed[name] = true
			if len(list(at(m, "Dimensions"))) == 0 {
				complain("%s looks at the whole account", id)
			}
			if namespace == ownMetrics && target(at(m, "Dimensions", 0, "Value")) != "RefreshFunction" {
				complain("%s looks at a function that emits no %s", id, name)
			}
			if (name == "Blocked" || name == "OpenIncidents") && at(m, "Threshold") != 0.0 {
				complain("%s rings above %v", id, at(m, "Threshold"))
			}
			if name == "Invocations" && at(m, "TreatMissingData") != "breaching" {
				complain("%s takes silence for a good sign", id)
			}
		}
		if a.Properties["MetricName"] != nil {
			add(a.Properties)
		}
		for _, m := range list(a.Properties["Metrics"]) {
			if stat := at(m, "MetricStat", "Metric"); stat != nil {
				add(stat)
			}
		}
		if at(a.Properties, "AlarmActions", "Fn::If", 1, 0, "Ref") != "AlarmTopicArn" {
			complain("%s tells nobody", id)
		}
	}
	for _, name := range []string{"RefreshLagSeconds", "Blocked", "OpenIncidents", "5xx", "Throttles", "Errors", "TargetErrorCount", "WriteThrottleEvents", "Invocations"} {
		if !alarmed[name] {
			complain("no alarm on %s", name)
		}
	}
	body, _ := at(s.Resources["Dashboard"].Properties, "DashboardBody", "Fn::Sub").(string)
	var dashboard struct {
		Widgets []struct {
			Properties struct{ Metrics [][]any }
		}
	}
	if err := json.Unmarshal([]byte(body), &dashboard); err != nil || len(dashboard.Widgets) == 0 {
		complain("the dashboard: %v", err)
	}
	for _, w := range dashboard.Widgets {
		for _, m := range w.Properties.Metrics {
			name := metric{fmt.Sprint(m[0]), fmt.Sprint(m[1])}
			used[name] = append(used[name], "Dashboard")
		}
	}
	own, err := emf()
	if err != nil {
		complain("%v", err)
	}
	for m, by := range used {
		if m.namespace == ownMetrics {
			if own[m.name] == "" {
				complain("%v: no code emits %s", by, m.name)
			}
		} else if !slices.Contains(awsMetrics[m.namespace], m.name) {
			complain("%v: %s %s is not known", by, m.namespace, m.name)
		}
	}
}

// scheduleCoversAllShards: the schedules' ranges are 0 to 15, each shard once a
// minute; the next minute is the only retry.
func scheduleCoversAllShards(s stack, complain complain) {
	var times [16]int
	for id, sc := range s.of("AWS::Scheduler::Schedule") {
		var r struct{ From, To *int }
		input, _ := at(sc.Properties, "Target", "Input").(string)
		if json.Unmarshal([]byte(input), &r) != nil || r.From == nil || r.To == nil || *r.From < 0 || *r.To > 15 {
			complain("%s has the input %q", id, input)
			continue
		}
		for i := *r.From; i <= *r.To; i++ {
			times[i]++
		}
		if at(sc.Properties, "Target", "RetryPolicy", "MaximumRetryAttempts") != 0.0 || target(at(sc.Properties, "Target", "Arn")) != "RefreshFunction" {
			complain("%s repeats, or calls another function", id)
		}
		if sc.Properties["ScheduleExpression"] != "rate(1 minute)" || sc.Properties["State"] != nil {
			complain("%s comes by %v, %v", id, sc.Properties["ScheduleExpression"], sc.Properties["State"])
		}
	}
	once := s.Resources["RefreshOnce"]
	if once == nil || target(once.Properties["FunctionName"]) != "RefreshFunction" || once.Properties["MaximumRetryAttempts"] != 0.0 {
		complain("Lambda repeats a pass that failed")
	}
	for i, n := range times {
		if n != 1 {
			complain("shard %d is swept %d times", i, n)
		}
	}
}

// variablesAreKnown: a variable that config does not read is a mistake.
func variablesAreKnown(s stack, complain complain) {
	for id, f := range s.of("AWS::Lambda::Function") {
		variables, _ := at(f.Properties, "Environment", "Variables").(map[string]any)
		for name := range variables {
			if strings.HasPrefix(name, "KEEPIN_") && !slices.Contains(config.Variables(), name) {
				complain("%s: config reads no %s", id, name)
			}
		}
		if variables["KEEPIN_BASE_URL"] == nil || variables["KEEPIN_STORE"] == nil {
			complain("%s knows neither address nor table", id)
		}
	}
}

var rules = map[string]func(stack, complain){
	"rolesGrantNothingWholesale": rolesGrantNothingWholesale,
	"validateOnlyLooks":          validateOnlyLooks,
	"keyOpensSecretsOnly":        keyOpensSecretsOnly,
	"functionsHaveTheirOwn":      functionsHaveTheirOwn,
	"routesAreThrottled":         routesAreThrottled,
	"onlyTheBackEndSigns":        onlyTheBackEndSigns,
	"nothingCaches":              nothingCaches,
	"tlsIsNew":                   tlsIsNew,
	"addressIsOne":               addressIsOne,
	"accessLogsHoldNoQuery":      accessLogsHoldNoQuery,
	"dataIsKept":                 dataIsKept,
	"theKeysetIsOne":             theKeysetIsOne,
	"metricsExist":               metricsExist,
	"scheduleCoversAllShards":    scheduleCoversAllShards,
	"variablesAreKnown":          variablesAreKnown,
}

// translated is the template as CloudFormation, by the pinned SAM CLI.
func translated(t *testing.T) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "template.yaml")) // here, so that Go's cache of test results knows it
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(awstest.Tool(t, "python"), "-c", translate)
	cmd.Stdin, cmd.Stderr = bytes.NewReader(text), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("translate: %v", err)
	}
	return out
}

func parse(t *testing.T, raw []byte) stack {
	t.Helper()
	var s stack
	if err := json.Unmarshal(raw, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestTemplateKeepsItsPromises(t *testing.T) {
	raw := translated(t)
	for name, rule := range rules {
		t.Run(name, func(t *testing.T) { rule(parse(t, raw), t.Errorf) })
	}
}

// TestRulesFindMistakes breaks the template once for each thing the rules hold.
func TestRulesFindMistakes(t *testing.T) {
	raw := translated(t)
	props := func(s stack, id string) map[string]any { return s.Resources[id].Properties }
	statement := func(s stack, role string, i int) map[string]any {
		st := list(at(props(s, role), "Policies", 0, "PolicyDocument", "Statement"))[i]
		return st.(map[string]any)
	}
	stageLimits := func(s stack) map[string]any { return at(props(s, "Stage"), "RouteSettings").(map[string]any) }
	for _, tt := range []struct {
		rule   string
		name   string
		damage func(stack)
	}{
		{"rolesGrantNothingWholesale", "an action with a star", func(s stack) { statement(s, "LogoutRole", 1)["Action"] = []any{"dynamodb:*"} }},
		{"rolesGrantNothingWholesale", "any resource", func(s stack) { statement(s, "RefreshRole", 1)["Resource"] = "*" }},
		{"rolesGrantNothingWholesale", "any resource in a list", func(s stack) { statement(s, "RefreshRole", 1)["Resource"] = []any{"*"} }},
		{"rolesGrantNothingWholesale", "everything but", func(s stack) { statement(s, "RefreshRole", 1)["NotAction"] = "iam:PassRole" }},
		{"rolesGrantNothingWholesale", "a wide managed policy", func(s stack) {
			props(s, "MembersRole")["ManagedPolicyArns"] = []any{"arn:aws:iam::aws:policy/AdministratorAccess"}
		}},
		{"rolesGrantNothingWholesale", "no boundary", func(s stack) { delete(props(s, "ScheduleRole"), "PermissionsBoundary") }},
		{"rolesGrantNothingWholesale", "anybody's API", func(s stack) { delete(props(s, "ValidatePermission"), "SourceArn") }},
		{"validateOnlyLooks", "any partition", func(s stack) {
			delete(statement(s, "ValidateRole", 1)["Condition"].(map[string]any), "ForAllValues:StringLike")
		}},
		{"validateOnlyLooks", "all attributes", func(s stack) { delete(statement(s, "ValidateRole", 1)["Condition"].(map[string]any), "StringEquals") }},
		{"validateOnlyLooks", "any attribute", func(s stack) {
			delete(statement(s, "ValidateRole", 1)["Condition"].(map[string]any), "ForAllValues:StringEquals")
		}},
		{"validateOnlyLooks", "a sealed token", func(s stack) {
			c := at(statement(s, "ValidateRole", 1), "Condition", "ForAllValues:StringEquals").(map[string]any)
			c["dynamodb:Attributes"] = append(list(c["dynamodb:Attributes"]), "ab")
		}},
		{"validateOnlyLooks", "a write", func(s stack) { statement(s, "ValidateRole", 1)["Action"] = []any{"dynamodb:Query", "dynamodb:PutItem"} }},
		{"validateOnlyLooks", "a secret", func(s stack) { props(s, "ValidateRole")["Policies"] = props(s, "LogoutRole")["Policies"] }},
		{"keyOpensSecretsOnly", "a key for everything", func(s stack) {
			all := list(at(props(s, "RefreshRole"), "Policies", 0, "PolicyDocument", "Statement"))
			delete(at(all[len(all)-1], "Fn::If", 1).(map[string]any), "Condition")
		}},
		{"keyOpensSecretsOnly", "no key", func(s stack) {
			doc := at(props(s, "RefreshRole"), "Policies", 0, "PolicyDocument").(map[string]any)
			doc["Statement"] = list(doc["Statement"])[:len(list(doc["Statement"]))-1]
		}},
		{"functionsHaveTheirOwn", "a shared role", func(s stack) { props(s, "LogoutFunction")["Role"] = props(s, "MembersFunction")["Role"] }},
		{"functionsHaveTheirOwn", "no log group", func(s stack) { delete(props(s, "LogoutFunction"), "LoggingConfig") }},
		{"functionsHaveTheirOwn", "another's log", func(s stack) { statement(s, "LogoutRole", 0)["Resource"] = statement(s, "MembersRole", 0)["Resource"] }},
		{"functionsHaveTheirOwn", "logs for ever", func(s stack) { delete(props(s, "AccessLogs"), "RetentionInDays") }},
		{"functionsHaveTheirOwn", "no build rule", func(s stack) {
			s.Resources["XFunction"] = s.Resources["LogoutFunction"]
			delete(s.Resources, "LogoutFunction")
		}},
		{"functionsHaveTheirOwn", "one architecture", func(s stack) { props(s, "LogoutFunction")["Architectures"] = []any{"x86_64"} }},
		{"routesAreThrottled", "no limit", func(s stack) { delete(stageLimits(s), "ANY /login") }},
		{"routesAreThrottled", "a wide exchange", func(s stack) {
			stageLimits(s)["ANY /exchange"] = map[string]any{"ThrottlingRateLimit": 50, "ThrottlingBurstLimit": 100}
		}},
		{"routesAreThrottled", "half a limit", func(s stack) { delete(stageLimits(s)["ANY /login"].(map[string]any), "ThrottlingBurstLimit") }},
		{"routesAreThrottled", "a limit on nothing", func(s stack) { stageLimits(s)["GET /login"] = stageLimits(s)["ANY /login"] }},
		{"routesAreThrottled", "a stage too early", func(s stack) { s.Resources["Stage"].DependsOn = s.Resources["Stage"].DependsOn.([]any)[1:] }},
		{"onlyTheBackEndSigns", "an open token route", func(s stack) { delete(props(s, "TokenRoute"), "AuthorizationType") }},
		{"onlyTheBackEndSigns", "a signed login", func(s stack) { props(s, "LoginRoute")["AuthorizationType"] = "AWS_IAM" }},
		{"onlyTheBackEndSigns", "a catch-all to members", func(s stack) { props(s, "DefaultRoute")["Target"] = props(s, "TokenRoute")["Target"] }},
		{"onlyTheBackEndSigns", "a missing route", func(s stack) { delete(s.Resources, "RedeemRoute") }},
		{"onlyTheBackEndSigns", "payload 1.0", func(s stack) { props(s, "LogoutIntegration")["PayloadFormatVersion"] = "1.0" }},
		{"onlyTheBackEndSigns", "an impatient gateway", func(s stack) { props(s, "CallbackIntegration")["TimeoutInMillis"] = 10000.0 }},
		{"onlyTheBackEndSigns", "no permission", func(s stack) { delete(s.Resources, "LogoutPermission") }},
		{"nothingCaches", "a distribution", func(s stack) { s.Resources["Cdn"] = &resource{Type: "AWS::CloudFront::Distribution"} }},
		{"nothingCaches", "an authorizer with a memory", func(s stack) { s.Resources["A"] = &resource{Type: "AWS::ApiGatewayV2::Authorizer"} }},
		{"nothingCaches", "CORS that overrules the function", func(s stack) { props(s, "Api")["CorsConfiguration"] = map[string]any{} }},
		{"tlsIsNew", "an old TLS", func(s stack) {
			at(props(s, "Domain"), "DomainNameConfigurations", 0).(map[string]any)["SecurityPolicy"] = "TLS_1_0"
		}},
		{"tlsIsNew", "whatever TLS", func(s stack) {
			delete(at(props(s, "Domain"), "DomainNameConfigurations", 0).(map[string]any), "SecurityPolicy")
		}},
		{"addressIsOne", "an open side door", func(s stack) { props(s, "Api")["DisableExecuteApiEndpoint"] = false }},
		{"addressIsOne", "another redirect URL", func(s stack) {
			at(s.Outputs["RedirectUrl"].Value, "Fn::If").([]any)[1].(map[string]any)["Fn::Sub"] = "${BaseUrl}/call"
		}},
		{"addressIsOne", "a function with another address", func(s stack) {
			at(props(s, "LogoutFunction"), "Environment", "Variables").(map[string]any)["KEEPIN_BASE_URL"] = "https://example.com"
		}},
		{"addressIsOne", "no base path", func(s stack) { delete(props(s, "DomainMapping"), "ApiMappingKey") }},
		{"accessLogsHoldNoQuery", "a path", func(s stack) {
			at(props(s, "Stage"), "AccessLogSettings").(map[string]any)["Format"] = `{"p":"$context.path"}`
		}},
		{"accessLogsHoldNoQuery", "a header", func(s stack) {
			at(props(s, "Stage"), "AccessLogSettings").(map[string]any)["Format"] = `{"p":"$request.header.cookie"}`
		}},
		{"accessLogsHoldNoQuery", "no JSON", func(s stack) {
			at(props(s, "Stage"), "AccessLogSettings").(map[string]any)["Format"] = `$context.status`
		}},
		{"dataIsKept", "a keyset that goes", func(s stack) { s.Resources["Keyset"].DeletionPolicy = "" }},
		{"dataIsKept", "no protection", func(s stack) { delete(props(s, "Table"), "DeletionProtectionEnabled") }},
		{"dataIsKept", "another TTL", func(s stack) {
			at(props(s, "Table"), "TimeToLiveSpecification").(map[string]any)["AttributeName"] = "ttl"
		}},
		{"dataIsKept", "no brake on the bill", func(s stack) { delete(props(s, "Table"), "OnDemandThroughput") }},
		{"theKeysetIsOne", "a short key", func(s stack) {
			at(props(s, "Keyset"), "GenerateSecretString").(map[string]any)["PasswordLength"] = 32.0
		}},
		{"theKeysetIsOne", "a key with a name", func(s stack) {
			at(props(s, "Keyset"), "GenerateSecretString").(map[string]any)["GenerateStringKey"] = "key"
		}},
		{"metricsExist", "a metric nobody emits", func(s stack) { props(s, "RefreshLagAlarm")["MetricName"] = "RefreshLag" }},
		{"metricsExist", "an alarm that is missing", func(s stack) { delete(s.Resources, "BlockedAlarm") }},
		{"metricsExist", "a metric of another function", func(s stack) {
			at(props(s, "BlockedAlarm"), "Dimensions", 0).(map[string]any)["Value"] = map[string]any{"Ref": "ValidateFunction"}
		}},
		{"metricsExist", "an alarm that hardly rings", func(s stack) { props(s, "IncidentAlarm")["Threshold"] = 5.0 }},
		{"metricsExist", "silence", func(s stack) { props(s, "NoPassAlarm")["TreatMissingData"] = "notBreaching" }},
		{"metricsExist", "an alarm nobody hears", func(s stack) { delete(props(s, "ThrottlesAlarm"), "AlarmActions") }},
		{"metricsExist", "a metric AWS has not", func(s stack) {
			at(props(s, "ScheduleAlarm"), "Metrics", 1, "MetricStat", "Metric").(map[string]any)["MetricName"] = "Failures"
		}},
		{"metricsExist", "a dashboard of nothing", func(s stack) {
			b := at(props(s, "Dashboard"), "DashboardBody").(map[string]any)
			b["Fn::Sub"] = strings.ReplaceAll(b["Fn::Sub"].(string), "RefreshLagSeconds", "Lag")
		}},
		{"scheduleCoversAllShards", "half the shards", func(s stack) { at(props(s, "EachMinute"), "Target").(map[string]any)["Input"] = `{"from":0,"to":7}` }},
		{"scheduleCoversAllShards", "a retry", func(s stack) { delete(at(props(s, "EachMinute"), "Target").(map[string]any), "RetryPolicy") }},
		{"scheduleCoversAllShards", "a retry of Lambda's", func(s stack) { delete(props(s, "RefreshOnce"), "MaximumRetryAttempts") }},
		{"scheduleCoversAllShards", "a slow schedule", func(s stack) { props(s, "EachMinute")["ScheduleExpression"] = "rate(5 minutes)" }},
		{"scheduleCoversAllShards", "a schedule that stands", func(s stack) { props(s, "EachMinute")["State"] = "DISABLED" }},
		{"variablesAreKnown", "a misspelt variable", func(s stack) {
			at(props(s, "LogoutFunction"), "Environment", "Variables").(map[string]any)["KEEPIN_SCOPE"] = "x"
		}},
	} {
		s := parse(t, raw)
		clean := 0
		rules[tt.rule](s, func(string, ...any) { clean++ })
		tt.damage(s)
		found := 0
		rules[tt.rule](s, func(string, ...any) { found++ })
		if found <= clean {
			t.Errorf("%s does not see %s", tt.rule, tt.name)
		}
	}
}
