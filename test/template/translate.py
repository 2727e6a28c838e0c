"""Prints the CloudFormation that SAM makes of a template, without an account. The template comes by standard input."""
import json
import os
import sys

os.environ.setdefault("AWS_DEFAULT_REGION", "eu-central-1")  # the translator asks boto3 for a Region, not for a service

from samcli.yamlhelper import yaml_parse
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator

template = yaml_parse(sys.stdin.read())
for resource in template["Resources"].values():  # what `sam package` would put there
    if resource["Type"] == "AWS::Serverless::Function":
        resource["Properties"]["CodeUri"] = "s3://bucket/key"
template["Globals"]["Function"].pop("CodeUri", None)
json.dump(Translator({}, Parser()).translate(template, parameter_values={}), sys.stdout)
