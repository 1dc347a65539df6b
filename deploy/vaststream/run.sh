#!/usr/bin/env bash
# The commands of README.md in a row, with ONNX Runtime in place of the card: bundle, npz, infer, decode, score.
set -euo pipefail

if [ "$#" -lt 3 ]; then
  echo "usage: bash deploy/vaststream/run.sh ONNX_FOLDER PICTURES LABELS|--synsets=FILE [FOLDER] [CLASSES]" >&2
  exit 2
fi
artifact=$1 pictures=$2 labels=$3 folder=${4:-vaststream_run} classes=${5:-1000}
case "$labels" in --synsets=*) ;; *) labels=--labels=$labels ;; esac
here=$(cd "$(dirname "$0")" && pwd)
vaststream() { "${PYTHON:-python3}" "$here/vaststream.py" "$@"; }

mkdir -p "$folder"
vaststream bundle "$artifact" "$folder/bundle" --name net
vaststream compile "$folder"/bundle/*/build/*.yaml --print-only
vaststream image2npz --dataset_path "$pictures" --target_path "$folder/npz" --text_path "$folder/npz.txt"
vaststream infer "$folder"/bundle/*.onnx --engine onnxruntime \
  --vdsp_params "$folder/bundle/vacc_code/vdsp_params/vamp/net-vdsp_params.json" \
  --datalist "$folder/npz.txt" --path_output "$folder/output"
vaststream decode "$folder/npz.txt" "$folder/output" "$folder/result.txt" "$folder/bundle/label/imagenet.txt" \
  --class-num "$classes"
vaststream score "$folder/output" --datalist "$folder/npz.txt" "$labels" --class-num "$classes" \
  --output "$folder/score.json"
