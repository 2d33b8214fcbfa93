#!/bin/sh
# sensorium tokenize --chat from outside: the ids of a whole request are those that chat answers.
#   tests/cli/tokenize.sh SENSORIUM DEMO_FOLDER
set -eu
program=$1 demo=$2
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
cp "$demo/scenes/000.png" "$here/a picture.png"
question="How many things </s> <unk> <image> are there?"
cat >"$here/request.json" <<END
{"messages": [{"role": "user", "content": [{"type": "image", "path": "a picture.png"}, {"type": "text", "text": "$question"}]}]}
END
fail() { echo "not ok $1"; exit 1; }

"$program" chat "$demo" -i "$here/a picture.png" --json "$question" >"$here/answer"
count=$("$program" tokenize "$demo" --chat "$here/request.json" --count)
grep -q "\"prompt_tokens\": $count," "$here/answer" || fail "as many ids as the answer was given: $count"
"$program" tokenize "$demo" --chat "$here/request.json" >"$here/table"
[ "$(grep -c '^-1	<picture>$' "$here/table")" = 64 ] || fail "64 places for the picture"
grep -Eq '^(0|2|1200)	' "$here/table" && fail "a typed </s>, <unk> or <image> is text"
"$program" tokenize "$demo" --chat "$here/request.json" --json >"$here/json"
grep -q '"pieces":\[.*"<picture>"' "$here/json" || fail "JSON has the pieces"
ids=$(grep -v '^-1' "$here/table" | cut -f1 | tr '\n' ' ')
"$program" tokenize "$demo" --decode "$ids" --no-special | tr '\n' ' ' | grep -q "USER: .*How many things </s> <unk> <image> are there? ASSISTANT:" || fail "the ids are the template's text"

refused() { # NAME PATTERN COMMAND...
  name=$1 pattern=$2
  shift 2
  if "$@" >/dev/null 2>"$here/error"; then fail "$name: not refused"; fi
  grep -q "^sensorium: error: .*$pattern" "$here/error" || fail "$name: $(cat "$here/error")"
}
refused "no file" "no such file\|No such file" "$program" tokenize "$demo" --chat "$here/none.json"
echo '{"messages": []}' >"$here/empty.json"
refused "no messages" "expected messages" "$program" tokenize "$demo" --chat "$here/empty.json"
refused "a text beside it" "nothing else" "$program" tokenize "$demo" --chat "$here/request.json" "text"
refused "a vocabulary alone" "" "$program" tokenize "$demo/tokenizer.model" --chat "$here/request.json"
echo "ok"
