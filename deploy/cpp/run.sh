#!/usr/bin/env bash
# The commands of README.md: build, compare with golden, classify, measure.
set -euo pipefail

if [ "$#" -lt 2 ]; then
  echo "usage: bash deploy/cpp/run.sh FOLDER PICTURE [CMAKE OPTION]..." >&2
  echo "  FOLDER is what 'ppghost export' wrote; an option is, for example, -DOpenVINO_DIR=..." >&2
  exit 2
fi
folder=$1 picture=$2
shift 2

here=$(cd "$(dirname "$0")" && pwd)
build=${BUILD:-build/cpp}
cmake -S "$here" -B "$build" "$@"
cmake --build "$build" -j
"$build/ppghost_classify" "$folder" --golden
"$build/ppghost_classify" "$folder" "$picture"
"$build/ppghost_classify" "$folder" --benchmark "$picture"
