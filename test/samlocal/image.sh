#!/usr/bin/env bash
# Makes the base image that `sam local` runs functions in, of SAM CLI's own
# runtime emulator and nothing else: the bootstraps are static, and no registry
# is needed. It stands under the name that SAM looks for.
set -euo pipefail
. "$(dirname "$0")/env.sh"
if docker image inspect "$image" >/dev/null 2>&1; then exit; fi
rie=$("${sam%/*}/python" -c 'import os, samcli; print(os.path.dirname(samcli.__file__))')/local/rapid/aws-lambda-rie-$arch
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir -p "$root"/{tmp,opt,var/task,var/runtime,etc/ssl/certs}
chmod 755 "$root"
chmod 1777 "$root/tmp"
install -D -m 755 "$rie" "$root/var/rapid/aws-lambda-rie"
cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/" 2>/dev/null || true # the real LinkedIn, should somebody point at it
tar -C "$root" --numeric-owner --owner=0 --group=0 -c . | docker import --platform "linux/$GOARCH" \
	-c 'WORKDIR /var/task' -c 'ENTRYPOINT ["/var/rapid/aws-lambda-rie"]' - "$image" >/dev/null
