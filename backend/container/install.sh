#!/bin/sh
# Makes the image, in a clean Debian: Python, Monosema with the versions of constraints.txt, its user and its volume.
set -eu
cd "$(dirname "$0")/../.."
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends ca-certificates python3 python3-venv
rm -rf /var/lib/apt/lists/*

python3 -m venv /opt/monosema
PIP_CONSTRAINT=constraints.txt /opt/monosema/bin/pip install --no-cache-dir --no-compile --disable-pip-version-check \
    '.[pipeline,postgres]'
# What runs cannot write there, so modules are compiled now.
/opt/monosema/bin/python -m compileall -q -j 0 /opt/monosema/lib || true
cp backend/container/health.py /opt/monosema/health.py

# The user that all of it runs as, and the volume: the store is that user's, the database is PostgreSQL's own (999 in
# its image).
groupadd --gid 10001 monosema
useradd --uid 10001 --gid 10001 --home-dir /data --no-create-home --shell /usr/sbin/nologin monosema
install -d -m 755 /data
install -d -m 755 -o 10001 -g 10001 /data/store
install -d -m 700 -o 999 -g 999 /data/postgresql
cd /
rm -rf /source
