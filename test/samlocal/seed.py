"""Makes the table and the secrets of template.yaml in a local AWS, as CloudFormation would.

seed.py ENDPOINT template.yaml '{"client_id":"...","client_secret":"..."}'
"""
import json
import secrets
import sys

import boto3
from samcli.yamlhelper import yaml_parse

endpoint, path, app = sys.argv[1:]
with open(path) as f:
    resources = yaml_parse(f.read())["Resources"]

table = resources["Table"]["Properties"]
shape = {name: table[name] for name in ("BillingMode", "AttributeDefinitions", "KeySchema")}
indexes = [{name: i[name] for name in ("IndexName", "KeySchema", "Projection")} for i in table["GlobalSecondaryIndexes"]]
db = boto3.client("dynamodb", endpoint_url=endpoint)
db.create_table(TableName="keepin", GlobalSecondaryIndexes=indexes, **shape)
db.get_waiter("table_exists").wait(TableName="keepin", WaiterConfig={"Delay": 1})

manager = boto3.client("secretsmanager", endpoint_url=endpoint)
manager.create_secret(Name="linkedin", SecretString=app)
key = resources["Keyset"]["Properties"]["GenerateSecretString"]
manager.create_secret(Name="keys", SecretString=json.dumps({key["GenerateStringKey"]: secrets.token_hex(key["PasswordLength"] // 2)}))
