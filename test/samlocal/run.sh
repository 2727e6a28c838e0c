#!/usr/bin/env bash
# Runs keepin's five functions under `sam local start-api`, with a simulated
# LinkedIn and a local AWS, until Ctrl-C or the end of its input: make sam-local.
#
# It needs a Docker engine. Where none answers, and we are root, it starts one
# (installed by apt-get where that is there), and stops it at the end. Everything
# else it needs is made here or below .tools; no registry of images is asked.
# It exits with 77 where this machine cannot have an engine, after one line that
# says why. PORT is the API's (3000).
set -euo pipefail
. "$(dirname "$0")/env.sh"
here=$PWD/test/samlocal port=${PORT:-3000} network=keepin-samlocal-$$
logs=$state/logs
begun=$(date +%s%3N)
step() { printf 'sam-local: %6d ms  %s\n' $(($(date +%s%3N) - begun)) "$*"; }
fail() { echo "sam-local: $*" >&2; exit 1; }
cannot() { echo "sam-local: no Docker engine: $*" >&2; exit 77; }

mkdir -p "$state"
exec 7<&0 # the input, which nothing in the background has
exec 8>"$state/lock"
if command -v flock >/dev/null; then flock -n 8 || fail "it runs already, in another terminal"; fi
rm -rf "$logs" && mkdir -p "$logs"

# Whatever happens, what was started here is stopped, by its pid, last first.
pids=()
start() { # NAME COMMAND...: its output goes to NAME.log. A group of its own: Ctrl-C is ours to handle.
	local name=$1
	shift
	setsid "$@" >"$logs/$name.log" 2>&1 </dev/null 7<&- 8>&- &
	pids=($! "${pids[@]}")
}
stop() {
	kill -TERM "$1" 2>/dev/null || return 0
	for _ in {1..200}; do kill -0 "$1" 2>/dev/null || return 0; sleep 0.1; done
	kill -KILL "$1" 2>/dev/null || true
}
end() {
	local code=$? pid
	trap '' INT TERM # a second Ctrl-C must not leave half of it
	set +e
	for pid in "${pids[@]}"; do
		[ "$pid" = "${engine:-}" ] || stop "$pid"
	done
	if docker network inspect "$network" >/dev/null 2>&1; then
		left=$(docker ps -aq --filter "network=$network") # SAM forgets some
		[ -z "$left" ] || docker rm -f $left >/dev/null
		docker network rm "$network" >/dev/null
	fi
	[ -z "${engine:-}" ] || stop "$engine"
	rm -rf "$state/network" "$state/env.json" "$state/build/MembersFunction/backend-key"
	step "everything is stopped"
	exit $code
}
trap end EXIT
trap 'trap "" INT TERM; exit 130' INT
trap 'trap "" INT TERM; exit 143' TERM
await() { # URL NAME: the last started answers there
	for _ in {1..600}; do
		curl -s -o /dev/null --max-time 5 "$1" && return
		kill -0 "${pids[0]}" 2>/dev/null || break
		sleep 0.1
	done
	tail -n 20 "$logs/$2.log" >&2
	fail "$2 does not answer at $1"
}
for program in curl go make python3; do command -v $program >/dev/null || fail "$program is missing"; done

# The engine
if ! docker info >/dev/null 2>&1; then
	[ "$(uname -s)" = Linux ] || cannot "start Docker"
	[ "$(id -u)" = 0 ] || cannot "none answers, and only root may start one: start Docker, or become a member of its group"
	if ! command -v dockerd >/dev/null; then
		command -v apt-get >/dev/null || cannot "none is installed, and there is no apt-get to install it with"
		export DEBIAN_FRONTEND=noninteractive
		{ apt-get update -q && apt-get install -y -q --no-install-recommends docker.io; } >"$logs/apt.log" 2>&1 ||
			cannot "apt-get install docker.io fails: $(grep -m1 '^E:' "$logs/apt.log")"
	fi
	start dockerd dockerd
	engine=${pids[0]}
	for _ in {1..300}; do
		docker info >/dev/null 2>&1 && break
		kill -0 "$engine" 2>/dev/null || { engine=; cannot "dockerd ends: $(tail -n 1 "$logs/dockerd.log")"; }
		sleep 0.1
	done
	docker info >/dev/null 2>&1 || cannot "dockerd does not answer within 30 s: see $logs/dockerd.log"
fi
docker network create "$network" >/dev/null 2>"$logs/network.log" || cannot "$(tail -n 1 "$logs/network.log")"
echo "$network" >"$state/network"
gateway=$(docker network inspect "$network" -f '{{(index .IPAM.Config 0).Gateway}}')
step "engine $(docker version -f '{{.Server.Version}}'), this machine is $gateway to it"

test/aws/install.sh sam ministack >"$logs/install.log" 2>&1 || fail "$(tail -n 1 "$logs/install.log")"
"$here/image.sh"
step "tools and base image"

# The functions; in a folder of their own, so that no deploy takes them.
"$sam" build --config-file "$PWD/samconfig.toml" --build-dir "$state/build" --parameter-overrides "Architecture=$arch" >"$logs/build.log" 2>&1 ||
	{ tail -n 20 "$logs/build.log" >&2; fail "sam build fails"; }
go build -o "$state/keepin" ./cmd/keepin
step "sam build"

# The services, at the one address that functions and a browser here both reach
aws=http://$gateway:4566 linkedin=http://$gateway:8081 base=http://localhost:$port
for taken in "$aws" "$linkedin" "$base"; do
	! curl -s -o /dev/null --max-time 5 "$taken" || fail "something listens at $taken already"
done
start ministack env GATEWAY_PORT=4566 BIND_HOST="$gateway" IOT_MTLS_ENABLED=0 SFTP_ENABLED=0 LOG_LEVEL=ERROR "$PWD/.tools/ministack/bin/ministack"
await "$aws/_ministack/health" ministack
start linkedin "$state/keepin" sim --listen "$gateway:8081" --redirect "$base/callback"
await "$linkedin/_sim/" linkedin
app=$(sed -n 's/^ *client \(id\|secret\) *\([^ ]*\).*/\2/p' "$logs/linkedin.log" | { read -r id; read -r secret; printf '{"client_id":"%s","client_secret":"%s"}' "$id" "$secret"; })
"${sam%/*}/python" "$here/seed.py" "$aws" template.yaml "$app"
rm -f "$state/build/MembersFunction/backend-key"
head -c 32 /dev/urandom | (umask 077 && od -An -tx1 | tr -d ' \n' >"$state/build/MembersFunction/backend-key")
cat >"$state/env.json" <<END
{"Parameters": {
  "AWS_ENDPOINT_URL": "$aws", "KEEPIN_BASE_URL": "$base", "KEEPIN_STORE": "dynamodb:keepin",
  "KEEPIN_SECRET": "secretsmanager:linkedin", "KEEPIN_KEYS": "secretsmanager:keys", "KEEPIN_EVENTS": "log",
  "KEEPIN_LINKEDIN_URL": "$linkedin", "KEEPIN_LINKEDIN_API_URL": "$linkedin", "KEEPIN_ISSUER": "$linkedin/oauth",
  "KEEPIN_BACKEND_KEY": "file:/var/task/backend-key"
}}
END
step "a local AWS and a simulated LinkedIn"

# SAM ignores SIGINT in the background, and stops by SIGTERM.
start api bash -c '. test/samlocal/env.sh; sam_local start-api --port "$1"' bash "$port"
await "$base/badge.js" api
step "sam local start-api"
cat <<END

  keepin             $base
  LinkedIn           $linkedin/_sim/
  a token            curl -H "Authorization: Bearer \$(cat $state/build/MembersFunction/backend-key)" $base/members/MEMBER_ID/token
  a pass             test/samlocal/refresh.sh      (no schedule runs here)
  what functions log $logs/api.log

ready; Ctrl-C stops it
END
# Not `read -t`: its alarm would strike in the middle of the clean-up.
api=${pids[0]}
cat <&7 >/dev/null &
pids=($! "${pids[@]}")
wait -n "$api" "${pids[0]}" || true
kill -0 "$api" 2>/dev/null || fail "sam local start-api has ended: see $logs/api.log"
