# What the scripts here have in common; sourced, not run. No real account is
# asked for anything, and nothing that a shell holds reaches a function: SAM
# prefers its variables to the template's without a word.
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
state=$PWD/.keepin/samlocal
sam=$PWD/.tools/sam/bin/sam
case $(uname -m) in aarch64 | arm64) GOARCH=arm64 arch=arm64 ;; *) GOARCH=amd64 arch=x86_64 ;; esac
image=public.ecr.aws/lambda/provided:al2023-rapid-$arch

for name in $(compgen -e); do
	case $name in AWS_* | KEEPIN_* | SAM_CLI_*) unset "$name" ;; esac
done
# Without an address of its own that fails at once, each start of SAM would wait for STS.
export GOARCH SAM_CLI_TELEMETRY=0 AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null \
	AWS_EC2_METADATA_DISABLED=true AWS_MAX_ATTEMPTS=1 AWS_ENDPOINT_URL_STS=http://127.0.0.1:9 \
	AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_REGION=us-east-1 AWS_DEFAULT_REGION=us-east-1

# sam_local COMMAND...: `sam local` on what run.sh has built.
sam_local() {
	exec "$sam" local "$@" --config-file "$PWD/samconfig.toml" --template "$state/build/template.yaml" \
		--env-vars "$state/env.json" --docker-network "$(cat "$state/network")" --parameter-overrides "Architecture=$arch"
}
