#!/bin/sh
# Makes sure that the programs of the system are there which tests drive: Chromium, nginx, PostgreSQL.
set -eu

# Whether one of some names, or files of Debian's PostgreSQL, is a program here.
has() {
    for name in "$@"; do
        if [ -n "$name" ] && { command -v "$name" || [ -x "$name" ]; } >/dev/null 2>&1; then return 0; fi
    done
    return 1
}

missing=""
has "${CHROMIUM:-}" chromium chromium-browser google-chrome || missing="$missing chromium"
has "${NGINX:-}" nginx /usr/sbin/nginx || missing="$missing nginx-light"
has initdb /usr/lib/postgresql/*/bin/initdb || missing="$missing postgresql"
if [ -z "$missing" ]; then exit 0; fi
if ! command -v apt-get >/dev/null 2>&1; then
    echo "The tests need$missing: install them (CHROMIUM and NGINX may name them)." >&2
    exit 1
fi
if [ "$(id -u)" = 0 ]; then sudo=""; else sudo="sudo"; fi
echo "Installing for the tests:$missing ..."
# The tests start servers of their own; none is to be made and started with the packages.
$sudo mkdir -p /etc/postgresql-common/createcluster.d
echo "create_main_cluster = false" | $sudo tee /etc/postgresql-common/createcluster.d/monosema.conf >/dev/null
$sudo apt-get update -qq
# shellcheck disable=SC2086  # several names
DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends $missing >/dev/null
