#!/usr/bin/env bash
# The commands of README.md: export for phones, verify on x86, classify a picture.
set -euo pipefail

if [ "$#" -lt 3 ]; then
  echo "usage: bash deploy/lite/run.sh CONFIG WEIGHTS PICTURE [FOLDER]" >&2
  exit 2
fi
config=$1 weights=$2 picture=$3 folder=${4:-inference_lite}

ppghost export -c "$config" -o Global.device=cpu --target lite \
  -o Global.pretrained_model="$weights" -o Global.save_inference_dir="$folder"
ppghost verify "$folder"
ppghost infer --artifact "$folder" "$picture"
