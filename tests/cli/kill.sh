#!/bin/sh
# A training run that is killed (SIGKILL) again and again ends with the same bytes as one that was left alone.
#   kill.sh PROGRAM GOLDENS
set -eu
program=$1
goldens=$2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
stage1() {
  cat <<YAML
model:
  llm: $goldens/llava/train-stage1/model/llava
  vision: $goldens/llava/train-stage1/model/clip
stage: stage1
data:
  - path: $goldens/llava/train-stage1/inputs/data.json
    images: $goldens/llava/train-stage1
optimizer:
  lr: 2.0e-3
batch:
  size: 2
YAML
}
multitask() {
  cat <<YAML
model:
  path: $goldens/fromage/train/model
  llm: $goldens/fromage/train/model/opt
  vision: $goldens/fromage/train/model/clip
stage: multitask
data:
  - path: $folder/captions.jsonl
    images: $goldens/fromage/train/inputs
optimizer:
  lr: 1.0e-3
  max_grad_norm: 1
schedule:
  name: step
  warmup_steps: 10
  every: 50
batch:
  size: 2
YAML
}
for i in 0 1 2 3; do echo "{\"image\": \"$i.png\", \"caption\": \"picture number $i of them all\"}"; done >"$folder/captions.jsonl"

kill_again_and_again() { # STAGE RESULT
  for run in whole parts; do
    { $1; printf 'steps: 120\nseed: 11\nsave:\n  folder: %s\n  every: 1\n' "$folder/$1-$run"; } >"$folder/$1-$run.yaml"
  done
  whole=$folder/$1-whole parts=$folder/$1-parts kills=0
  "$program" train "$whole.yaml" --threads 1 >/dev/null
  for wait in 0.11 0.31 0.17 0.43 0.23 0.07 0.37 0.29 0.19 0.13; do
    if ! timeout -s KILL "$wait" "$program" train "$parts.yaml" --threads 1 >/dev/null 2>&1; then kills=$((kills + 1)); fi
  done
  "$program" train "$parts.yaml" --threads 1 >/dev/null
  cmp "$whole/$2" "$parts/$2"
  [ "$(wc -l <"$parts/metrics.jsonl")" = 120 ]
  [ "$kills" -gt 0 ] || { echo "the run was too fast to be killed" >&2; exit 1; }
  [ -z "$(find "$parts" -name '*.part*')" ]
  echo "$1: killed $kills times, same bytes"
}
kill_again_and_again stage1 mm_projector.bin
kill_again_and_again multitask pretrained_ckpt.pth.tar
