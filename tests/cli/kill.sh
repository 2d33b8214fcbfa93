#!/bin/sh
# A training run that is killed (SIGKILL) again and again ends with the same bytes as one that was left alone.
#   kill.sh PROGRAM GOLDENS
set -eu
program=$1
goldens=$2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
recipe() {
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
steps: 120
seed: 11
save:
  folder: $folder/$1
  every: 1
YAML
}
recipe whole >"$folder/whole.yaml"
recipe parts >"$folder/parts.yaml"
"$program" train "$folder/whole.yaml" --threads 1 >/dev/null
kills=0
for wait in 0.11 0.31 0.17 0.43 0.23 0.07 0.37 0.29 0.19 0.13; do
  if ! timeout -s KILL "$wait" "$program" train "$folder/parts.yaml" --threads 1 >/dev/null 2>&1; then kills=$((kills + 1)); fi
done
"$program" train "$folder/parts.yaml" --threads 1 >/dev/null
cmp "$folder/whole/mm_projector.bin" "$folder/parts/mm_projector.bin"
[ "$(wc -l <"$folder/parts/metrics.jsonl")" = 120 ]
[ "$kills" -gt 0 ] || { echo "the run was too fast to be killed" >&2; exit 1; }
[ -z "$(find "$folder/parts" -name '*.part*')" ]
echo "killed $kills times, same bytes"
