#!/usr/bin/env bash
# Installs what the tests need besides Go: a C compiler for the race detector,
# Chromium, and Python and Node for the AWS doubles and other people's clients.
# What is there is left alone. In CI a missing piece fails; elsewhere it is named,
# and the tests that need it are skipped.
set -euo pipefail
cd "$(dirname "$0")/.."

has() { command -v "$1" >/dev/null 2>&1; }
venv() { has python3 && python3 -c 'import ensurepip, venv' 2>/dev/null; }
browser() { has chromium || has chromium-browser || has google-chrome; }

packages=()
has gcc || packages+=(gcc libc6-dev)
browser || packages+=(chromium)
venv || packages+=(python3 python3-venv)
has npm || packages+=(nodejs npm)
if [ ${#packages[@]} -gt 0 ] && has apt-get && [ "$(id -u)" = 0 ]; then
	echo "setup: installing ${packages[*]}"
	export DEBIAN_FRONTEND=noninteractive
	apt-get update -q >/dev/null
	apt-get install -y -q --no-install-recommends "${packages[@]}" >/dev/null
fi

missing() {
	echo "setup: $1 is missing: $2" >&2
	[ -z "${CI:-}" ]
}
has gcc || missing "a C compiler" "go test -race needs one"
browser || missing "Chromium" "the browser tests are skipped"
venv || missing "python3 with venv" "the tests on a double of AWS are skipped"
has npm || missing "npm" "the tests on a second DynamoDB, against another OpenID provider and with JavaScript clients are skipped"

if venv; then test/aws/install.sh sam ministack || missing "a double of AWS" "see above"; fi
if has npm; then test/aws/install.sh dynalite || missing "dynalite" "see above"; fi
if has npm; then test/provider/install.sh || missing "oidc-provider" "the tests against another OpenID provider are skipped"; fi
