#!/bin/sh
# sensorium compare on results of trace and their references.
#   tests/cli/compare.sh SENSORIUM GOLDENS
set -u
program=$1 goldens=$2
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
failed=0

# expect NAME EXIT PATTERN ARGUMENTS...: exit code, and a line that matches
expect() {
  name=$1 code=$2 pattern=$3
  shift 3
  "$program" compare "$@" >"$here/out" 2>&1
  got=$?
  if [ "$got" = "$code" ] && grep -Eq -- "$pattern" "$here/out"; then echo "ok $name"
  else echo "not ok $name: exit $got, expected $code with $pattern"; cat "$here/out"; failed=1; fi
}

one=$goldens/llava/v15-generate/expected.safetensors other=$goldens/llava/hf15-newest-names-generate/expected.safetensors
"$program" trace "$goldens/llava/v15-generate" -o "$here" || exit 1
expect "the reference and ours" 0 '^vision.output +equal' --common "$here/actual.safetensors" "$one"
expect "tensors of one file alone are named" 1 '^lm.hidden.1 +only in A' "$here/actual.safetensors" "$one"
expect "the same from the other side" 1 '^lm.hidden.1 +only in B' "$one" "$here/actual.safetensors"
expect "without tolerance, the first that differs and where" 1 '^first: vision.output at \[0, [0-9]+, [0-9]+\]: .* of 384 values differ' --rtol 0 --atol 0 "$here/actual.safetensors" "$one"
expect "another request: the data's way begins with the picture" 1 '^first: pixel_values at' "$one" "$other"
expect "another shape" 1 'shape differs' "$one" "$other"
expect "as JSON" 1 '"first": "pixel_values"' --json "$one" "$other"
expect "a file with itself" 0 'equal' "$one" "$one"
expect "no such file" 1 'sensorium: error: .*none.safetensors' "$one" "$here/none.safetensors"
expect "not a checkpoint" 1 '^sensorium: error: ' "$one" "$goldens/llava/v15-generate/request.json"
expect "one file" 2 'expected A B' "$one"
expect "a tolerance that is none" 2 'rtol: found "x"' --rtol x "$one" "$one"
exit $failed
