# How `sam build` makes the functions: it calls build-<logical id> with ARTIFACTS_DIR.
# For x86_64 say GOARCH=amd64 and the template's parameter Architecture=x86_64 together.
GOARCH ?= arm64

build-CallbackFunction: NAME = callback
build-ValidateFunction: NAME = validate
build-LogoutFunction: NAME = logout
build-MembersFunction: NAME = members
build-RefreshFunction: NAME = refresh

# -trimpath, -buildvcs=false, an empty build id and a fixed time make the zip of unchanged sources the same zip.
build-%Function:
	CGO_ENABLED=0 GOOS=linux GOARCH=$(GOARCH) go build -mod=readonly -trimpath -buildvcs=false -tags lambda.norpc \
		-ldflags "-s -w -buildid=" -o "$(ARTIFACTS_DIR)/bootstrap" ./functions/$(NAME)
	@touch -t 198001020000 "$(ARTIFACTS_DIR)/bootstrap"

## make lint-template   the template: the linter's rules and ours
# Ours hold its CloudFormation to what keepin promises of its deployment.
.PHONY: lint-template
lint-template:
	test/aws/install.sh sam
	SAM_CLI_TELEMETRY=0 AWS_REGION=$${AWS_REGION:-eu-central-1} .tools/sam/bin/sam validate --lint
	KEEPIN_TEST_REQUIRE=1 go test ./test/template

## make sam-local      the functions under `sam local`, with a simulated LinkedIn and a local AWS
.PHONY: sam-local
sam-local:
	@test/samlocal/run.sh

## make test-sam-local the same, as a test. It needs a Docker engine or root, so `make test` leaves it out
.PHONY: test-sam-local
test-sam-local:
	KEEPIN_TEST_SAMLOCAL=1 go test -count=1 -v ./test/samlocal

## make test-aws       the deployed stack, each permission of each role taken away in turn
.PHONY: test-aws
test-aws:
	test/aws/install.sh sam ministack
	KEEPIN_TEST_REQUIRE=1 KEEPIN_TEST_AWS=full go test -count=1 -v ./test/aws
