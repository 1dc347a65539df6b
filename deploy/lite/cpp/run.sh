#!/usr/bin/env bash
# The commands of README.md: build for this machine, compare with golden, classify, measure.
set -euo pipefail

if [ "$#" -lt 2 ]; then
  echo "usage: bash deploy/lite/cpp/run.sh FOLDER PICTURE [CMAKE OPTION]..." >&2
  echo "  FOLDER is what 'ppghost export --target lite' wrote; without -DPPGHOST_LITE_DIR=SDK among the options" >&2
  echo "  the program is built against stubs and says that it cannot run a network." >&2
  exit 2
fi
folder=$1 picture=$2
shift 2

here=$(cd "$(dirname "$0")" && pwd)
build=${BUILD:-build/lite}
cmake -S "$here" -B "$build" "$@"
cmake --build "$build" -j
"$build/ppghost_lite" --golden "$folder"
"$build/ppghost_lite" "$folder" "$picture"
"$build/ppghost_lite" --benchmark --pause 1 "$folder"
