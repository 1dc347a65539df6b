#!/usr/bin/env bash
# The commands of README.md in a row, with ONNX Runtime in place of the NPU: prepare, list, convert, infer, score.
set -euo pipefail

if [ "$#" -lt 3 ]; then
  echo "usage: bash deploy/ascend/run.sh MODEL.onnx PICTURES LABELS [FOLDER] [CLASSES] [OPTION OF prepare]..." >&2
  exit 2
fi
model=$1 pictures=$2 labels=$3 folder=${4:-ascend_run} classes=${5:-1000}
here=$(cd "$(dirname "$0")" && pwd)
ascend() { "${PYTHON:-python3}" "$here/ascend.py" "$@"; }

mkdir -p "$folder"
ascend prepare "$pictures" "$folder/bins" "${@:6}"
ascend info bin "$folder/bins" "$folder/bins.info" 224 224
ascend convert "$model" --print-only
for batch in 1 8; do
  ascend infer "$model" "$folder/bs$batch" --bins "$folder/bins" --engine onnxruntime --batchsize "$batch"
done
ascend score "$folder/bs1" "$labels" --class-num "$classes" --output "$folder/score.json"
ascend report "$folder"/bs*/sumary.json
