#!/bin/sh
# Signs in to the simulator with the clients of other people and languages.
# What they need is installed into .tools/clients, at the versions pinned here.
# Needs go, node with npm, and python3 with venv.
set -eu
cd "$(dirname "$0")"
tools=$(cd ../.. && pwd)/.tools/clients
mkdir -p "$tools/node"

echo "== Go"
go test ./...
go build -o "$tools/sim" ./sim
export SIM="$tools/sim"

echo "== JavaScript"
cp node/package.json node/package-lock.json node/clients.test.mjs "$tools/node/"
(cd "$tools/node" && npm ci --silent --no-fund --no-audit && node --test --test-reporter=spec clients.test.mjs)

echo "== Python"
[ -x "$tools/venv/bin/python" ] || python3 -m venv "$tools/venv"
"$tools/venv/bin/pip" install --quiet --disable-pip-version-check -r python/requirements.txt
(cd python && PYTHONDONTWRITEBYTECODE=1 "$tools/venv/bin/python" -m unittest -v test_clients)
