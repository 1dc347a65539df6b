#!/bin/sh
# Make the virtual environment .venv and install ppghost into it, editable. Used by the Makefile.
# usage: tools/make_environment.sh PYTHON EXTRAS     e.g. tools/make_environment.sh python3 dev
set -eu

python=$1
extras=$2
venv=.venv

say() {
    printf '%s\n' "$*" >&2
}

if ! "$python" -c '' 2>/dev/null; then
    say "error: '$python' does not run. Install Python 3.9 to 3.13, or name one: make PYTHON=/path/to/python3.11 ..."
    exit 2
fi
if ! "$python" -c 'import sys; sys.exit(not (3, 9) <= sys.version_info[:2] <= (3, 13))'; then
    say "error: '$python' is $("$python" -V 2>&1); Paddle has wheels for Python 3.9 to 3.13."
    say "Name another one: make PYTHON=/path/to/python3.11 ..."
    exit 2
fi

# A folder that an interrupted run left without a working pip is made again from nothing.
if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    rm -rf "$venv"
    if "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        "$python" -m venv "$venv"
    elif command -v uv >/dev/null 2>&1; then
        uv venv --quiet --seed --python "$python" "$venv"
    else
        say "error: $("$python" -V) comes without the modules venv and ensurepip."
        say "On Debian and Ubuntu: apt-get install python3-venv. Or install uv (https://docs.astral.sh/uv)."
        exit 2
    fi
fi

say "installing ppghost and what it needs into $venv (Paddle is about 200 MB)"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --editable ".${extras:+[$extras]}"

# Training on a CPU runs on native kernels that are compiled once. Without a C compiler a wheel brings one.
for compiler in ${CC:-} cc gcc clang; do
    if command -v "$compiler" >/dev/null 2>&1; then
        exit 0
    fi
done
say "no C compiler here: installing one into $venv (ziglang, about 90 MB)"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check ziglang ||
    say "that failed; training works all the same, at about a quarter of the speed"
