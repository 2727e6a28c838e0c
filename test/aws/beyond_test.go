package aws_test

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/keepin/keepin/shared/dynamo"
)

// deed is one call to AWS, and the functions whose roles may make it; "" is none.
type deed struct {
	name string
	may  string
	do   func(who aws.Credentials) (status int, body string)
}

// deeds are what whoever has taken a function over would try. The grant that
// they are tried on is a member's.
func (s *stack) deeds(t testing.TB) []deed {
	t.Helper()
	b := s.browser()
	id := b.signIn(t)
	partition, table := "M#"+string(id), s.out["Table"]
	jsonCall := func(service, target string, in map[string]any) func(aws.Credentials) (int, string) {
		return func(who aws.Credentials) (int, string) { return s.tryJSON(t, who, service, target, in) }
	}
	db := func(action string, more ...any) func(aws.Credentials) (int, string) {
		in := map[string]any{"TableName": table}
		for i := 0; i+1 < len(more); i += 2 {
			in[more[i].(string)] = more[i+1]
		}
		return jsonCall("dynamodb", "DynamoDB_20120810."+action, in)
	}
	query := func(pk string, more ...any) func(aws.Credentials) (int, string) {
		return db("Query", append([]any{"KeyConditionExpression", "pk = :pk", "ExpressionAttributeValues", map[string]any{":pk": str(pk)}}, more...)...)
	}
	attributes := func(names ...string) []any {
		return []any{"Select", "SPECIFIC_ATTRIBUTES", "ProjectionExpression", strings.Join(names, ", ")}
	}
	key := func(pk, sk string) []any { return []any{"Key", map[string]any{"pk": str(pk), "sk": str(sk)}} }
	form := func(service, version, action string, params ...string) func(aws.Credentials) (int, string) {
		return func(who aws.Credentials) (int, string) {
			return s.tryQuery(t, who, service, version, action, params...)
		}
	}
	invoke := func(function string) func(aws.Credentials) (int, string) {
		name := s.resources(t, s.name, "AWS::Lambda::Function")[function]
		return func(who aws.Credentials) (int, string) {
			return s.call(t, who, "POST", "lambda", "/2015-03-31/functions/"+name+"/invocations", []byte(`{"from":0,"to":0}`))
		}
	}
	secret := func(action, id string) func(aws.Credentials) (int, string) {
		in := map[string]any{"SecretId": s.out[id]}
		if action == "PutSecretValue" {
			in = map[string]any{"SecretId": s.out[id], "SecretString": "{}", "ClientRequestToken": strings.Repeat("x", 32)}
		}
		return jsonCall("secretsmanager", "secretsmanager."+action, in)
	}
	look := dynamo.LookAttributes()
	harmless := []any{"Item", map[string]any{"pk": str("T#nothing"), "sk": str("T"), "x": map[string]string{"N": "1"}}}
	deeds := []deed{
		{"read a grant with its sealed tokens", "callback logout members refresh", db("GetItem", key(partition, "A")...)},
		{"look at a member", "callback logout validate", query(partition, attributes(look...)...)},
		{"look at a member by another expression name", "callback logout validate", query(partition, "Select", "SPECIFIC_ATTRIBUTES", "ProjectionExpression", "#a", "ExpressionAttributeNames", map[string]string{"#a": "su"})},
		{"list a member's partition whole", "callback logout", query(partition)},
		{"list a member's partition, and ask for all in words", "callback logout", query(partition, "Select", "ALL_ATTRIBUTES")},
		{"list a member's sealed access token", "callback logout", query(partition, attributes("su", "ab")...)},
		{"list a member's sealed refresh token", "callback logout", query(partition, attributes("rb")...)},
		{"list a member's sealed token by another name", "callback logout", query(partition, "Select", "SPECIFIC_ATTRIBUTES", "ProjectionExpression", "#a", "ExpressionAttributeNames", map[string]string{"#a": "rb"})},
		{"guess at a sealed token by a filter", "callback logout", query(partition, append(attributes("su"), "FilterExpression", "attribute_exists(rb)")...)},
		{"count a partition", "callback logout", query(partition, "Select", "COUNT")},
		{"list incidents", "callback members refresh", query("I#" + time.Now().UTC().Format(time.DateOnly))},
		{"list incidents, named attributes", "callback members refresh", query("I#"+time.Now().UTC().Format(time.DateOnly), attributes(look...)...)},
		{"list the control item", "", query("P")},
		{"list what was burnt", "", query("T#nothing", attributes("pk")...)},
		{"list what is due", "refresh", db("Query", "IndexName", "due", "KeyConditionExpression", "ds = :s", "ExpressionAttributeValues", map[string]any{":s": map[string]string{"N": "0"}})},
		{"list what is due, named attributes", "refresh", db("Query", append(attributes("pk"), "IndexName", "due", "KeyConditionExpression", "ds = :s", "ExpressionAttributeValues", map[string]any{":s": map[string]string{"N": "0"}})...)},
		{"scan the table", "", db("Scan")},
		{"scan the table for what may be looked at", "", db("Scan", attributes("pk")...)},
		{"scan the index", "", db("Scan", "IndexName", "due")},
		{"write an item", "callback logout members refresh", db("PutItem", harmless...)},
		{"change an item in place", "", db("UpdateItem", append(key("T#nothing", "T"), "UpdateExpression", "SET m = :m", "ExpressionAttributeValues", map[string]any{":m": str("x")})...)},
		{"delete a session", "callback", db("DeleteItem", key(partition, "S#nothing")...)},
		{"delete an incident", "", db("DeleteItem", key("I#2026-01-01", "x")...)},
		{"delete the control item", "", db("DeleteItem", key("P", "nothing")...)},
		{"delete what was burnt", "", db("DeleteItem", key("T#nothing", "T")...)},
		{"read many", "", jsonCall("dynamodb", "DynamoDB_20120810.BatchGetItem", map[string]any{"RequestItems": map[string]any{table: map[string]any{"Keys": []any{map[string]any{"pk": str(partition), "sk": str("A")}}}}})},
		{"delete many", "", jsonCall("dynamodb", "DynamoDB_20120810.BatchWriteItem", map[string]any{"RequestItems": map[string]any{table: []any{map[string]any{"DeleteRequest": map[string]any{"Key": map[string]any{"pk": str("T#nothing"), "sk": str("T")}}}}}})},
		{"read by PartiQL", "", jsonCall("dynamodb", "DynamoDB_20120810.ExecuteStatement", map[string]any{"Statement": `SELECT * FROM "` + table + `"`})},
		{"describe the table", "", db("DescribeTable")},
		{"delete the table", "", db("DeleteTable")},
		{"restore the table", "", jsonCall("dynamodb", "DynamoDB_20120810.RestoreTableToPointInTime", map[string]any{"SourceTableName": table, "TargetTableName": "mine"})},
		{"read the client secret", "callback logout members refresh", secret("GetSecretValue", "ClientSecret")},
		{"read the keyset", "callback logout members refresh", secret("GetSecretValue", "Keyset")},
		{"replace the client secret", "", secret("PutSecretValue", "ClientSecret")},
		{"replace the keyset", "", secret("PutSecretValue", "Keyset")},
		{"delete the keyset", "", secret("DeleteSecret", "Keyset")},
		{"describe the keyset", "", secret("DescribeSecret", "Keyset")},
		{"read another application's secret", "", jsonCall("secretsmanager", "secretsmanager.GetSecretValue", map[string]any{"SecretId": "another"})},
		{"list the account's secrets", "", jsonCall("secretsmanager", "secretsmanager.ListSecrets", map[string]any{})},
		{"tell the application", "callback members refresh", jsonCall("events", "AWSEvents.PutEvents", event(s.out["Bus"]))},
		{"tell the account's own bus", "", jsonCall("events", "AWSEvents.PutEvents", event("default"))},
		{"run the refresh", "schedule", invoke("RefreshFunction")},
		{"run the sign-in", "", invoke("CallbackFunction")},
		{"see a role", "", form("iam", "2010-05-08", "GetRole", "RoleName", s.resources(t, s.name, "AWS::IAM::Role")["RefreshRole"])},
		{"give itself more", "", form("iam", "2010-05-08", "PutRolePolicy", "RoleName", "MY-BACKEND", "PolicyName", "more", "PolicyDocument", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`)},
		{"see the stack", "", form("cloudformation", "2010-05-15", "DescribeStacks", "StackName", s.name)},
		{"have a token as the back end", "", func(who aws.Credentials) (int, string) {
			a := b.do(t, "GET", "/members/"+string(id)+"/token", signedBy(t, who))
			return a.StatusCode, a.body
		}},
	}
	for group, physical := range s.resources(t, s.name, "AWS::Logs::LogGroup") {
		deeds = append(deeds,
			deed{"write to " + group, strings.ToLower(strings.TrimSuffix(group, "Logs")), jsonCall("logs", "Logs_20140328.CreateLogStream", map[string]any{"logGroupName": physical, "logStreamName": "deed"})},
			deed{"read " + group, "", jsonCall("logs", "Logs_20140328.GetLogEvents", map[string]any{"logGroupName": physical, "logStreamName": "deed"})})
	}
	return deeds
}

func str(s string) map[string]string { return map[string]string{"S": s} }

func event(bus string) map[string]any {
	return map[string]any{"Entries": []any{map[string]string{"EventBusName": bus, "Source": "deed", "DetailType": "deed", "Detail": "{}"}}}
}

// refused reports whether AWS said that the caller may not.
func refused(status int, body string) bool {
	return (status == http.StatusBadRequest || status == http.StatusForbidden) &&
		(strings.Contains(body, "AccessDenied") || strings.Contains(body, "not authorized") || strings.Contains(body, `"message":"Forbidden"`))
}

// noRoleDoesMore tries every deed by the credentials of every role.
func noRoleDoesMore(t *testing.T, s *stack) {
	deeds := s.deeds(t)
	for id, role := range s.resources(t, s.name, "AWS::IAM::Role") {
		who := s.become(t, id, role)
		name := strings.ToLower(strings.TrimSuffix(id, "Role"))
		for _, d := range deeds {
			may := slices.Contains(strings.Fields(d.may), name)
			if status, body := d.do(who); refused(status, body) == may {
				t.Errorf("%s may %s: %v, and got %d %.200s", name, d.name, may, status, body)
			}
		}
	}
}

// everyConditionIsNeeded takes one condition at a time from each role, and sees
// it do what it must not.
func everyConditionIsNeeded(t *testing.T, s *stack) {
	deeds := s.deeds(t)
	tried := 0
	for id, role := range s.resources(t, s.name, "AWS::IAM::Role") {
		who := s.become(t, id, role)
		name := strings.ToLower(strings.TrimSuffix(id, "Role"))
		whole := s.policy(t, role)
		for _, without := range slices.Sorted(maps.Keys(whole.wider())) {
			tried++
			s.putPolicy(t, role, whole.wider()[without])
			var gained []string
			for _, d := range deeds {
				if !slices.Contains(strings.Fields(d.may), name) && !refused(d.do(who)) {
					gained = append(gained, d.name)
				}
			}
			s.putPolicy(t, role, whole)
			if len(gained) == 0 {
				t.Errorf("%s, %s: it may do nothing more", id, without)
			}
			t.Logf("%s, %s, may %s", id, without, strings.Join(gained, "; "))
		}
	}
	if tried < 8 {
		t.Errorf("%d conditions", tried)
	}
}

// become gives the credentials of a function's role, which only Lambda, or the
// schedule, may assume: for once, the account may.
func (s *stack) become(t testing.TB, id, role string) aws.Credentials {
	t.Helper()
	service := map[bool]string{true: "scheduler", false: "lambda"}[id == "ScheduleRole"]
	arn := "arn:aws:iam::000000000000:role/" + role
	trust := func(principal string) {
		s.iam(t, "UpdateAssumeRolePolicy", "RoleName", role, "PolicyDocument",
			`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{`+principal+`},"Action":"sts:AssumeRole"}]}`)
	}
	was, err := url.QueryUnescape(between(t, s.iam(t, "GetRole", "RoleName", role), "AssumeRolePolicyDocument"))
	must(t, err)
	if !strings.Contains(was, `"`+service+`.amazonaws.com"`) || strings.Count(was, "Principal") != 1 || strings.Contains(was, `"AWS"`) {
		t.Errorf("%s is trusted to %s", id, was)
	}
	trust(`"AWS":"arn:aws:iam::000000000000:root"`)
	defer trust(`"Service":"` + service + `.amazonaws.com"`)
	return s.assume(t, arn)
}
