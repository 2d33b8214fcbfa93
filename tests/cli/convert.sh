#!/bin/sh
# A LLaMA of grouped heads (6 and 2) goes to GGUF and back: the same answers from the file, the same bytes at the end.
#   convert.sh PROGRAM GOLDENS-RUNNER GOLDENS
set -eu
program=$1
runner=$2
case=$3/components/llama/hf-fp16-sharded-logits
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/case"
cp "$case/expected.json" "$case/expected.safetensors" "$folder/case/"
"$program" convert "$case/model" "$folder/case/model.gguf" -t f32
sed 's|"task"|"model": {"llm": "model.gguf"}, "task"|' "$case/request.json" >"$folder/case/request.json"
"$runner" "$program" "$folder/case"
"$program" convert "$case/model" "$folder/stored.gguf"
"$program" convert "$folder/stored.gguf" "$folder/back.safetensors"
"$program" convert "$case/model" "$folder/straight.safetensors"
# only the rotary tables of old files are left out on the way
"$program" compare "$folder/back.safetensors" "$folder/straight.safetensors" --rtol 0 --atol 0 2>/dev/null >"$folder/table" || true
[ "$(grep -c ' equal ' "$folder/table")" = 30 ]
grep 'only in' "$folder/table" | grep -v inv_freq && exit 1
if "$program" convert "$case/request.json" "$folder/x.gguf" 2>"$folder/error"; then exit 1; fi
grep -q '^sensorium: error: .*not a checkpoint' "$folder/error"
[ ! -e "$folder/x.gguf" ]
echo "the same logits, the same bytes"
