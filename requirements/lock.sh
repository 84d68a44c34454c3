#!/bin/sh
# Resolves requirements/*.lock anew from pyproject.toml: names, versions and hashes, and no index address.
set -eu
cd "$(dirname -- "$0")/.."
uv=.venv/bin/uv
compile() {
    out=$1
    shift
    "$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
        --override requirements/overrides.txt --output-file "requirements/$out.lock" "$@"
}
compile base pyproject.toml
compile test -c requirements/base.lock pyproject.toml --group test
compile bench -c requirements/test.lock pyproject.toml --group test --group bench
"$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
    --output-file requirements/bootstrap.lock requirements/bootstrap.in
