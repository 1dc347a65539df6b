#!/usr/bin/env bash
# The commands of README.md: export, verify, classify with the fastest engine that is installed.
set -euo pipefail

if [ "$#" -lt 3 ]; then
  echo "usage: bash deploy/onnx/run.sh CONFIG WEIGHTS PICTURE [FOLDER]" >&2
  exit 2
fi
config=$1 weights=$2 picture=$3 folder=${4:-inference_onnx}

ppghost export -c "$config" -o Global.device=cpu --target onnx \
  -o Global.pretrained_model="$weights" -o Global.save_inference_dir="$folder"
ppghost verify "$folder"
ppghost infer --artifact "$folder" "$picture"
ppghost infer --artifact "$folder" --engine auto "$picture"
