#!/bin/sh
# Installs the pinned tools that the checks of the AWS side need, each into its own
# folder under .tools, and does nothing for one that is there.
#
#   test/aws/install.sh sam         SAM CLI with cfn-lint and the translator, AWS CLI
#   test/aws/install.sh ministack   an AWS on loopback: DynamoDB, Secrets Manager, Lambda, ...
#   test/aws/install.sh dynalite    a second, independent DynamoDB
set -eu
cd "$(dirname "$0")/../.."

# venv NAME PACKAGE...: the pins are noted last, so that an interrupted run leaves
# nothing that looks ready. A changed pin makes it anew.
venv() {
	name=$1; shift
	[ "$(cat ".tools/$name/pins" 2>/dev/null)" = "$*" ] && return
	command -v python3 >/dev/null || { echo "install.sh: python3 is not there; on Debian: apt-get install python3-venv" >&2; exit 1; }
	rm -rf ".tools/$name"
	python3 -m venv ".tools/$name"
	".tools/$name/bin/pip" install -q --disable-pip-version-check "$@"
	echo "$*" >".tools/$name/pins"
}

mkdir -p .tools
exec 9>.tools/lock
command -v flock >/dev/null && flock 9 # two makes at once
for tool in "$@"; do
	case $tool in
	sam) venv sam aws-sam-cli==1.170.0 aws-sam-translator==1.115.0 cfn-lint==1.58.0 awscli==1.46.3 ;;
	ministack) venv ministack ministack==1.5.33 aws-sam-translator==1.115.0 cryptography==50.0.2 ;;
	dynalite)
		[ -x .tools/dynalite/node_modules/.bin/dynalite ] && continue
		command -v npm >/dev/null || { echo "install.sh: npm is not there; on Debian: apt-get install npm" >&2; exit 1; }
		mkdir -p .tools/dynalite
		(cd .tools/dynalite && npm install --silent --no-fund --no-audit dynalite@4.0.0)
		;;
	*) echo "install.sh: unknown tool $tool" >&2; exit 2 ;;
	esac
done
