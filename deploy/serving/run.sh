#!/usr/bin/env bash
# Serves an exported folder: makes the isolated environment once, writes Paddle Serving's folders, starts the server.
set -euo pipefail

if [ "$#" -lt 1 ]; then
  echo "usage: bash deploy/serving/run.sh ARTIFACT [OPTION]..." >&2
  echo "  ARTIFACT is what 'ppghost export' wrote; an option is, for example, -o http_port=8080" >&2
  exit 2
fi
here=$(cd "$(dirname "$0")" && pwd)
exec "${PYTHON:-python3}" "$here/serve.py" "$@"
