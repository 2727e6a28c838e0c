#!/usr/bin/env bash
# Does what the schedule does each minute, in the stack that run.sh runs: one pass
# over what is due. SAM exits with 0 also when the function fails, so read the answer.
set -euo pipefail
. "$(dirname "$0")/env.sh"
[ -s "$state/network" ] || { echo "refresh.sh: run.sh is not running" >&2; exit 1; }
echo '{"from":0,"to":15}' >"$state/tick.json"
sam_local invoke RefreshFunction --event "$state/tick.json"
