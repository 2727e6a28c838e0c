"""Starts ministack as the AWS that template.yaml is deployed to by test/aws.

ministack leaves out some of what the template relies on, or does it in a way of
its own. What follows does those parts as AWS documents them, by replacing
private functions of the version that install.sh pins: after another version,
read each again. Beyond ministack's own variables it takes

    SCHEDULE_MINUTE   how many seconds a minute of a schedule lasts (60)

It shows nothing of throttles, of the gateway's own time-outs and limits, of
access logs, nor of alarms that ring.
"""
import json
import os
import re
import threading

os.environ.pop("AWS_ENDPOINT_URL", None)  # of whoever starts us; functions have the template's

import ministack.app as gateway
import ministack.core.iam_actions as iam_actions
import ministack.core.iam_evaluator as iam
import ministack.core.lambda_runtime as runtime
import ministack.services.apigateway as http_api
import ministack.services.cloudformation.provisioners as cloudformation
import ministack.services.dynamodb as dynamodb
import ministack.services.eventbridge as eventbridge
import ministack.services.lambda_svc as functions
import ministack.services.scheduler as scheduler
import ministack.services.secretsmanager as secrets
from ministack.core.responses import get_account_id, get_region


# CloudFormation: a secret's Ref is its ARN, and an alarm may be of metric math
# (it is kept, and never rings).

def handle(kind, **replaced):
    cloudformation._RESOURCE_HANDLERS[kind].update(replaced)


_secret = dict(cloudformation._RESOURCE_HANDLERS["AWS::SecretsManager::Secret"])


def _secret_name(arn):
    return next((name for name, s in secrets._secrets.items() if s["ARN"] == arn), arn)


def create_secret(logical_id, props, stack):
    _, attributes = _secret["create"](logical_id, props, stack)
    return attributes["Arn"], attributes


def update_secret(arn, old, new, stack, logical_id=None):
    name, attributes = _secret["update"](_secret_name(arn), old, new, stack, logical_id)
    return secrets._secrets[name]["ARN"], attributes


def delete_secret(arn, props):
    return _secret["delete"](_secret_name(arn), props)


handle("AWS::SecretsManager::Secret", create=create_secret, update=update_secret, delete=delete_secret)

_alarm_record = cloudformation._cw_metric_alarm_record


def alarm_record(name, props):
    if props.get("Metrics"):
        first = next(m["MetricStat"] for m in props["Metrics"] if "MetricStat" in m)
        props = {**props, "MetricName": first["Metric"]["MetricName"], "Namespace": first["Metric"]["Namespace"],
                 "Period": first["Period"]}
        del props["Metrics"]
    return _alarm_record(name, props)


cloudformation._cw_metric_alarm_record = alarm_record


# IAM: the condition keys of DynamoDB that say which items and which attributes
# a request names, wherever it names them.
#
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/specifying-conditions.html

_own_context = iam_actions.dynamodb_service_context
WORDS_OF_EXPRESSIONS = {
    "AND", "OR", "NOT", "BETWEEN", "IN", "SET", "REMOVE", "ADD", "DELETE", "ATTRIBUTE_EXISTS", "ATTRIBUTE_NOT_EXISTS",
    "ATTRIBUTE_TYPE", "BEGINS_WITH", "CONTAINS", "SIZE", "IF_NOT_EXISTS", "LIST_APPEND"}


def _partition_key(request):
    table = dynamodb._tables.get(str(request.get("TableName", "")).rsplit("/", 1)[-1]) or {}
    schema = table.get("KeySchema", [])
    for index in table.get("GlobalSecondaryIndexes") or []:
        if index["IndexName"] == request.get("IndexName"):
            schema = index["KeySchema"]
    return next((k["AttributeName"] for k in schema if k["KeyType"] == "HASH"), None)


def _expression(request, name):
    text = request.get(name) or ""
    for short, long in (request.get("ExpressionAttributeNames") or {}).items():
        text = re.sub(re.escape(short) + r"\b", long, text)
    return text


def _named(request):
    """The partitions and the attributes that one request names."""
    item = request.get("Key") or request.get("Item") or {}
    attributes = set(item) | set(request.get("AttributesToGet") or [])
    for name in ("ProjectionExpression", "KeyConditionExpression", "FilterExpression", "ConditionExpression", "UpdateExpression"):
        words = re.findall(r"(?<![\w:.])[A-Za-z_]\w*", _expression(request, name))
        attributes |= {w for w in words if w.upper() not in WORDS_OF_EXPRESSIONS}
    key, partitions = _partition_key(request), []
    if key in item:
        partitions = list(item[key].values())
    elif key:
        equals = re.search(rf"(?<![\w.:]){key}\s*=\s*(:\w+)", _expression(request, "KeyConditionExpression"))
        if equals:
            partitions = list(request["ExpressionAttributeValues"][equals.group(1)].values())
    return partitions, attributes


def _requests(body):
    """The requests that a batch is made of, or else the one."""
    for table, asked in (body.get("RequestItems") or {}).items():
        if isinstance(asked, dict):
            yield from ({**asked, "TableName": table, "Key": key} for key in asked.get("Keys", []))
        else:
            for one in asked:
                yield {"TableName": table, "Item": (one.get("PutRequest") or {}).get("Item"),
                       "Key": (one.get("DeleteRequest") or {}).get("Key")}
    if "RequestItems" not in body:
        yield body


def dynamodb_context(body):
    context = _own_context(body)
    try:
        named = [_named(r) for r in _requests(json.loads(body or b"{}"))]
    except (ValueError, AttributeError):
        return context
    partitions = [p for some, _ in named for p in some]
    attributes = sorted({a for _, some in named for a in some})
    context.pop("dynamodb:Attributes", None)
    if partitions:
        context["dynamodb:LeadingKeys"] = partitions
    if attributes:
        context["dynamodb:Attributes"] = attributes
    return context


iam_actions.dynamodb_service_context = dynamodb_context

_resource = iam_actions.extract_resource_arn


def resource_arn(service, method, path, headers, body, *args):
    """A call about a stream of a log is about that stream."""
    arn = _resource(service, method, path, headers, body, *args)
    if service == "logs":
        stream = json.loads(body or b"{}").get("logStreamName")
        if stream and ":log-stream:" not in arn:
            arn = f"{arn.removesuffix(':*')}:log-stream:{stream}"
    return arn


iam_actions.extract_resource_arn = resource_arn


# Lambda's callers and its log need permission too: the schedule by its role, an
# API by the function's own policy, the log's lines by the function's role.

def role_may(role_arn, action, resource):
    name = role_arn.rsplit("/", 1)[-1]
    context = iam.EvalContext(principal_arn=role_arn, principal_type="AssumedRole", principal_account=get_account_id(),
                              action=action, resource_arn=resource, region=get_region())
    return iam.evaluate(context, iam._gather_role_policies(name, get_account_id())).decision == "Allow"


def api_may(function, source):
    context = iam.EvalContext(principal_arn="apigateway", principal_type="Service", principal_account=get_account_id(),
                              action="lambda:InvokeFunction", resource_arn=function["config"]["FunctionArn"],
                              region=get_region(), service_context={"aws:sourcearn": source})
    policy = {**function.get("policy", {})}
    policy["Statement"] = [{**s, "Resource": "*"} for s in policy.get("Statement", [])]
    return iam.evaluate_resource_policy(policy, context, service="apigateway.amazonaws.com").decision == "Allow"


def api_arn(rest):
    return f"arn:aws:execute-api:{get_region()}:{get_account_id()}:{rest}"


_to_function = eventbridge._invoke_target


def invoke_target(target, event, rule, view=None):
    if "RoleArn" in target and "ScheduleExpression" in rule and not role_may(target["RoleArn"], "lambda:InvokeFunction", target["Arn"]):
        return None
    return _to_function(target, event, rule, view)


eventbridge._invoke_target = invoke_target

_write_log = functions._emit_lambda_logs


def write_log(function, *args, **kwargs):
    config = function.get("config") or function
    group = (config.get("LoggingConfig") or {}).get("LogGroup") or "/aws/lambda/" + config["FunctionName"]
    stream = f"arn:aws:logs:{get_region()}:{get_account_id()}:log-group:{group}:log-stream:any"
    if all(role_may(config["Role"], action, stream) for action in ("logs:CreateLogStream", "logs:PutLogEvents")):
        _write_log(function, *args, **kwargs)


functions._emit_lambda_logs = write_log

_ask_authorizer = http_api._invoke_request_authorizer_lambda


async def ask_authorizer(authorizer, event, account, region):
    reference = http_api._extract_lambda_ref_from_integration_uri(authorizer.get("authorizerUri", ""))
    function, _, _ = functions._get_func_record_for_ref_in_scope(reference, account_id=account, region=region)
    source = api_arn(f"{event['requestContext']['apiId']}/authorizers/{authorizer['authorizerId']}")
    if function is None or not api_may(function, source):
        return None
    return await _ask_authorizer(authorizer, event, account, region)


http_api._invoke_request_authorizer_lambda = ask_authorizer


# The gateway: cookies are a list, a preflight without CORS in the template is a
# request like others, a function that failed is a 500 with a fixed text.

_execute = functions._execute_function_with_config_scope
REFUSED = {"error": True, "body": {"errorMessage": "the API may not call the function"}}


def execute(function, event):
    context = event.get("requestContext") if isinstance(event, dict) else None
    if isinstance(context, dict) and "http" in context and event.get("version") == "2.0":
        context["http"]["method"] = context["http"]["method"].strip()
        cookies = event["headers"].pop("cookie", "")
        if cookies:
            event["cookies"] = [c.strip() for c in cookies.split(";") if c.strip()]
        event["headers"].setdefault("x-forwarded-proto", "https")
        if event.get("pathParameters") is None:
            event.pop("pathParameters", None)
        http = context["http"]
        source = api_arn(f"{context['apiId']}/{context['stage']}/{http['method']}{http['path']}")
        if event.get("type") != "REQUEST" and not api_may(function, source):
            return REFUSED
    return _execute(function, event)


_answer = functions.lambda_execute_result_to_api_proxy_response


def answer(result):
    if result.get("error") and not result.get("throttle"):
        return {"statusCode": 500, "headers": {"Content-Type": "application/json"},
                "body": '{"message":"Internal Server Error"}'}, None
    return _answer(result)


_serve = http_api._handle_execute_in_scope


async def serve(api_id, stage, path, method, *args):
    if method == "OPTIONS" and not (http_api._apis.get(api_id) or {}).get("corsConfiguration"):
        method = "OPTIONS "  # no longer what ministack answers by itself; execute takes the space off again
    return await _serve(api_id, stage, path, method, *args)


functions._execute_function_with_config_scope = execute
functions.lambda_execute_result_to_api_proxy_response = answer
http_api._handle_execute_in_scope = serve


# A function's process sees what Lambda gives it and its own variables, nothing
# of ours. A warm call waits for its log 3 ms, not 50, and its answer is not
# held back for more to send.

_environment = functions._provided_worker_env


def environment(config, code, port):
    own = (config.get("Environment") or {}).get("Variables") or {}
    given = {k: v for k, v in _environment(config, code, port).items()
             if k in own or (k.startswith(("AWS_", "LAMBDA_")) or k == "_HANDLER") and k != "AWS_CA_BUNDLE"}
    return {"PATH": "/usr/local/bin:/usr/bin:/bin", "TZ": ":UTC", "AWS_LAMBDA_LOG_FORMAT": "JSON", **given}


functions._provided_worker_env = environment

_handler, _drain = runtime.ProvidedWorker._build_handler_class, runtime.ProvidedWorker._drain_stderr_bounded


def handler(self, *args, **kwargs):
    made = _handler(self, *args, **kwargs)
    made.disable_nagle_algorithm, made.wbufsize = True, 1 << 16
    return made


def drain(self, first_line_wait=0.05, idle_confirm=0.005, hard_cap=0.25):
    return _drain(self, min(first_line_wait, 0.003), 0.001, hard_cap)


runtime.ProvidedWorker._build_handler_class, runtime.ProvidedWorker._drain_stderr_bounded = handler, drain


# An update of a function lets the calls that are under way end.

_kill = runtime.kill_workers


def kill_after_its_call(worker):
    with worker._lock:
        _kill([worker])


def kill_workers(workers):
    busy = [w for w in workers if isinstance(w, runtime.ProvidedWorker) and w._lock.locked()]
    _kill([w for w in workers if w not in busy])
    for worker in busy:
        threading.Thread(target=kill_after_its_call, args=(worker,), daemon=True).start()


runtime.kill_workers = kill_workers


# A schedule's minute may be shorter.

_rate = eventbridge._parse_rate_seconds
MINUTE = float(os.environ.get("SCHEDULE_MINUTE", "60"))


def rate(expression):
    seconds = _rate(expression)
    return seconds and seconds * MINUTE / 60


eventbridge._parse_rate_seconds = rate
scheduler._SCHEDULE_TICK_INTERVAL = min(scheduler._SCHEDULE_TICK_INTERVAL, MINUTE / 4)

if __name__ == "__main__":
    gateway.main()
