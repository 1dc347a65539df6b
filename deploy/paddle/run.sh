#!/usr/bin/env bash
# The commands of README.md: export, verify, classify with several engines.
set -euo pipefail

if [ "$#" -lt 3 ]; then
  echo "usage: bash deploy/paddle/run.sh CONFIG WEIGHTS PICTURE [FOLDER]" >&2
  exit 2
fi
config=$1 weights=$2 picture=$3 folder=${4:-inference}

ppghost export -c "$config" -o Global.device=cpu \
  -o Global.pretrained_model="$weights" -o Global.save_inference_dir="$folder"
ppghost verify "$folder"
ppghost infer --artifact "$folder" --engine auto "$picture"
ppghost infer --artifact "$folder" --engine onednn "$picture"
ppghost infer --artifact "$folder" --engine native --output results.jsonl "$picture"
