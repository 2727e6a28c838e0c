#!/bin/sh
# Installs the OpenID provider of test/provider into .tools/provider, as the lockfile
# has it, and runs none of its install scripts. It does nothing when that is there.
set -eu
cd "$(dirname "$0")/../.."
cmp -s test/provider/node/package-lock.json .tools/provider/installed && exit
command -v npm >/dev/null || { echo "install.sh: npm is not there; on Debian: apt-get install npm" >&2; exit 1; }
mkdir -p .tools/provider
cp test/provider/node/package.json test/provider/node/package-lock.json .tools/provider/
(cd .tools/provider && npm ci --ignore-scripts --silent --no-fund --no-audit)
cp test/provider/node/package-lock.json .tools/provider/installed # last: what was interrupted is done again
