#!/bin/sh
# Makes sure that the programs of the system are there which tests drive: Chromium, nginx, PostgreSQL.
set -eu

if [ "$(id -u)" = 0 ]; then sudo=""; else sudo="sudo"; fi

# Whether one of some names, or files of Debian's PostgreSQL, is a program here.
has() {
    for name in "$@"; do
        if [ -n "$name" ] && { command -v "$name" || [ -x "$name" ]; } >/dev/null 2>&1; then return 0; fi
    done
    return 1
}

install() {
    echo "Installing for the tests: $* ..."
    $sudo apt-get update -qq && DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

# Chromium without its windows, which opens pages in half the time. Where it cannot be had, a whole one does.
if ! has "${CHROMIUM:-}" chromium-headless-shell && has apt-get && { [ -z "$sudo" ] || sudo -n true 2>/dev/null; }; then
    install chromium-headless-shell || echo "There is no chromium-headless-shell for this system: the tests take longer."
fi

missing=""
has "${CHROMIUM:-}" chromium-headless-shell chromium chromium-browser google-chrome || missing="$missing chromium"
has "${NGINX:-}" nginx /usr/sbin/nginx || missing="$missing nginx-light"
has initdb /usr/lib/postgresql/*/bin/initdb || missing="$missing postgresql"
if [ -z "$missing" ]; then exit 0; fi
if ! has apt-get; then
    echo "The tests need$missing: install them (CHROMIUM and NGINX may name them)." >&2
    exit 1
fi
# The tests start servers of their own; none is to be made and started with the packages.
$sudo mkdir -p /etc/postgresql-common/createcluster.d
echo "create_main_cluster = false" | $sudo tee /etc/postgresql-common/createcluster.d/monosema.conf >/dev/null
# shellcheck disable=SC2086  # several names
install $missing
