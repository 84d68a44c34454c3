#!/bin/sh
# Makes or completes .venv at the root of the repository for one group of packages: sh requirements/install.sh base|test|bench
#
# Everything is locked by name, version and hash. A stamp in .venv says what is installed, so that a second run needs no
# network; a larger group satisfies a smaller one and is never taken away by it.
set -eu

group=${1:-base}
root=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd -P)
venv=$root/.venv
stamp=$venv/yardmaster.stamp
cd "$root"

rank() {
    case $1 in base) echo 1 ;; test) echo 2 ;; bench) echo 3 ;; *) echo 0 ;; esac
}

if [ "$(rank "$group")" = 0 ]; then
    echo "There is no package group '$group'; known: base, test, bench." >&2
    exit 2
fi

is_311() {
    "$1" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' >/dev/null 2>&1
}

find_python() {
    found=
    for candidate in ${PYTHON:-} python3.11 python3 python; do
        command -v "$candidate" >/dev/null 2>&1 || continue
        if is_311 "$candidate"; then
            echo "$candidate"
            return 0
        fi
        version=$("$candidate" --version 2>&1 | head -n 1) || version="it does not start"
        found="$found${found:+,} $candidate ($version)"
    done
    {
        echo "Yardmaster needs Python 3.11 to make its environment, and there is none on the PATH."
        echo "Found:${found:- no Python at all}."
        echo "Install it (Debian and Ubuntu: apt-get install python3.11 python3.11-venv; macOS: brew install python@3.11;"
        echo "anywhere: uv python install 3.11 or pyenv install 3.11), or name one: make demo PYTHON=/path/to/python3.11"
    } >&2
    return 2
}

hash_of() {
    # PEP 3147 names and shell tools differ between systems; Python's own hash is the same everywhere.
    "$venv/bin/python" -c 'import hashlib, sys
digest = hashlib.sha256()
for name in sys.argv[1:]:
    digest.update(open(name, "rb").read())
print(digest.hexdigest())' "$@"
}

locks_hash() {
    hash_of requirements/bootstrap.lock "requirements/$1.lock"
}

make_venv() {
    python=$(find_python) || exit 2
    echo "Making the environment .venv with $($python --version 2>&1) ..."
    rm -rf "$venv"
    if ! "$python" -m venv "$venv"; then
        rm -rf "$venv"
        echo "$python could not make a virtual environment (above). On Debian and Ubuntu: apt-get install python3.11-venv" >&2
        exit 2
    fi
}

# uv does not read pip's settings, so they are handed over: whoever set a mirror, a certificate or no index at all for pip
# means every download. What is set for uv itself wins.
hand_over_pip_settings() {
    settings=$("$venv/bin/python" - <<'EOF'
import ast
import os
import shlex
import subprocess
import sys

NAMES = {
    "index-url": ("UV_DEFAULT_INDEX", " "),
    "extra-index-url": ("UV_INDEX", " "),
    "find-links": ("UV_FIND_LINKS", ","),
    "no-index": ("UV_NO_INDEX", " "),
    "cert": ("SSL_CERT_FILE", " "),
    "trusted-host": ("UV_INSECURE_HOST", " "),
    "default-timeout": ("UV_HTTP_TIMEOUT", " "),
    "timeout": ("UV_HTTP_TIMEOUT", " "),
}
command = [sys.executable, "-m", "pip", "config", "list"]
found = {}
for line in subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines():
    name, _, value = line.partition("=")
    level, _, key = name.rpartition(".")
    # The environment outranks a section for one command, which outranks the global one; pip lists them in no such order.
    weight = {":env:": 3, "install": 2, "global": 1}.get(level, 0)
    if key in NAMES and weight and weight >= found.get(key, (0, ""))[0]:
        found[key] = (weight, ast.literal_eval(value))
for key, (_, value) in found.items():
    variable, separator = NAMES[key]
    words = str(value).split()
    if key == "no-index":
        words = ["true"] if str(value).lower() in {"1", "true", "yes", "on"} else []
    if words and not os.environ.get(variable):
        print(f"export {variable}={shlex.quote(separator.join(words))}")
EOF
    )
    eval "$settings"
    # Like pip, take the locked version from whichever index has it; the hashes say that it is the right one.
    export UV_INDEX_STRATEGY="${UV_INDEX_STRATEGY:-unsafe-best-match}"
    if [ -z "${UV_CACHE_DIR:-}" ] && [ ! -w "${HOME:-/nonexistent}" ]; then
        export UV_CACHE_DIR="$root/var/cache/uv"
    fi
}

has_space() {
    free_kb=$(df -Pk "$root" | awk 'NR == 2 { print $4 }')
    if [ "${free_kb:-9999999}" -lt 2500000 ]; then
        echo "The disk of $root has $((free_kb / 1000)) MB free; the environment needs 2500 MB. Free some space and try again." >&2
        exit 2
    fi
}

if [ -d "$venv" ]; then
    # A moved folder leaves scripts that point to the old place, a Python upgrade an interpreter that is gone: make it anew.
    if ! is_311 "$venv/bin/python" || ! grep -qsF "$venv/bin" "$venv/bin/pip"; then
        echo "The environment .venv does not fit (another Python, or the folder was moved); it is made again."
        rm -rf "$venv"
    fi
fi

installed=none
if [ -f "$stamp" ]; then
    read -r installed installed_hash project_hash <"$stamp" || true
    if [ "$(rank "$installed")" -ge "$(rank "$group")" ]; then
        group=$installed
    fi
    if [ "$group" = "$installed" ] && [ "$installed_hash" = "$(locks_hash "$group")" ]; then
        if [ "$project_hash" = "$(hash_of pyproject.toml)" ]; then
            exit 0
        fi
        installed=current
    fi
fi

[ -d "$venv" ] || { has_space; make_venv; }

if [ "$installed" != current ]; then
    has_space
    if ! "$venv/bin/python" -c 'from importlib.metadata import version; version("uv")' >/dev/null 2>&1; then
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bootstrap.lock
    fi
    hand_over_pip_settings
    echo "Installing the locked packages of the group '$group' (needs the package index once) ..."
    if ! "$venv/bin/uv" pip sync --python "$venv/bin/python" --require-hashes requirements/bootstrap.lock "requirements/$group.lock"; then
        echo "The packages could not be installed (above). Check the connection to the package index and pip's settings" >&2
        echo "(pip config list), then run the same command again: it goes on where it stopped." >&2
        exit 2
    fi
fi

"$venv/bin/uv" pip install --quiet --offline --python "$venv/bin/python" --no-deps --no-build-isolation --editable .
printf '%s %s %s\n' "$group" "$(locks_hash "$group")" "$(hash_of pyproject.toml)" >"$stamp"
