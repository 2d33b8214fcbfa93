#!/bin/sh
# sensorium chat from outside: what it prints, where, and its exit codes.
#   tests/cli/chat.sh SENSORIUM DEMO_FOLDER
set -u
program=$1 demo=$2
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
failed=0

# check NAME EXPECTED_EXIT EXPECTED_STDOUT PATTERN_OF_STDERR -- COMMAND...
check() {
  name=$1 code=$2 out=$3 pattern=$4
  shift 5
  "$@" >"$here/out" 2>"$here/err" </dev/null
  got=$?
  [ "$got" = "$code" ] || { echo "not ok $name: exit $got, expected $code: $(cat "$here/err")"; failed=1; return; }
  [ "$out" = - ] || [ "$(cat "$here/out")" = "$out" ] || { echo "not ok $name: printed: $(cat "$here/out")"; failed=1; return; }
  if [ -z "$pattern" ]; then
    [ ! -s "$here/err" ] || { echo "not ok $name: said: $(cat "$here/err")"; failed=1; return; }
  else
    [ "$(wc -l <"$here/err")" = 1 ] && grep -q "^sensorium: \(error\|warning\): .*$pattern" "$here/err" || { echo "not ok $name: said: $(cat "$here/err")"; failed=1; return; }
  fi
  echo "ok $name"
}

picture=$demo/scenes/000.png
check "an answer" 0 "Four." "" -- "$program" chat "$demo" -i "$picture" "How many things are there?"
check "in Russian" 0 "Синий." "" -- "$program" chat "$demo" --image="$picture" -t0 "Какого цвета фон?"
url="data:image/png;base64,$(base64 -w0 "$picture")"
check "a picture on standard input" 0 "Four." "" -- sh -c '"$0" chat "$1" -i - "How many things are there?" <"$2"' "$program" "$demo" "$picture"
check "a picture in a data URL" 0 "Four." "" -- "$program" chat "$demo" -i "$url" "How many things are there?"
check "two pictures" 0 - "cut after 4 tokens; --max-tokens allows more" -- "$program" chat "$demo" -i "$picture" -i "$demo/scenes/001.png" -n 4 "Describe the picture."
check "a stop string" 0 "I see a lark at the top left," "" -- "$program" chat "$demo" -i "$picture" --stop " a peng" "Describe the picture."
check "beams" 0 "Four." "" -- "$program" chat "$demo" -i "$picture" --beams 3 "How many things are there?"
check "a question that begins with a dash" 0 - "cut after 2 tokens" -- "$program" chat -n 2 "$demo" -- "-x"
check "help" 0 - "" -- "$program" chat --help
grep -q "sensorium chat models/demo -i" "$here/out" && grep -q -- "--alpha white|drop" "$here/out" || { echo "not ok help names what there is"; failed=1; }
check "version" 0 - "" -- "$program" --version

check "no model" 2 "" "expected MODEL" -- "$program" chat
check "an unknown option" 2 "" "no option --temprature.*--temperature" -- "$program" chat "$demo" --temprature 1 x
check "an option without its value" 2 "" "--seed expects a value" -- "$program" chat "$demo" x --seed
check "a number that is none" 2 "" "temperature: found \"0,2\"" -- "$program" chat "$demo" --temperature 0,2 x
check "a word that is none" 2 "" "expected apply or ignore" -- "$program" chat "$demo" --exif maybe x
check "an empty stop string" 2 "" "--stop" -- "$program" chat "$demo" --stop "" x
check "an unknown template" 2 "" "expected one of llava_v1" -- "$program" chat "$demo" --template other x
check "an unknown command" 2 "" "no command chatt" -- "$program" chatt
check "not a model" 1 "" "$here" -- "$program" chat "$here" x
check "no such model" 1 "" "no such file" -- "$program" chat "$here/none" x
check "no such picture" 1 "" "$here/none.png" -- "$program" chat "$demo" -i "$here/none.png" x
check "two pictures on one standard input" 2 "" "found \"-\" for 2 pictures" -- "$program" chat "$demo" -i - -i - x
check "the picture where the questions are" 2 "" "the questions are read from it" -- "$program" chat "$demo" -i -
check "an empty standard input" 1 "" "standard input: the file is empty" -- "$program" chat "$demo" -i - x
check "no picture on standard input" 1 "" "standard input: not a picture" -- sh -c 'echo hello | "$0" chat "$1" -i - x' "$program" "$demo"
check "a picture that was cut" 1 "" "standard input: " -- sh -c 'head -c 400 "$2" | "$0" chat "$1" -i - x' "$program" "$demo" "$picture"
check "a data URL that was cut" 1 "" "data URL: .*ends" -- "$program" chat "$demo" -i "$(printf %.400s "$url")" x
check "a data URL without data" 1 "" "data URL: found no comma" -- "$program" chat "$demo" -i data:image/png x
check "a data URL of something else" 1 "" "data URL: byte 22: found a character" -- "$program" chat "$demo" -i "data:image/png;base64,<svg>" x
check "not a picture" 1 "" "not a picture" -- "$program" chat "$demo" -i "$demo/config.json" x
check "not UTF-8" 1 "" "UTF-8" -- "$program" chat "$demo" "$(printf '\377')"
check "too long" 1 "" "window holds 1024.*shorten it, or begin a new conversation" -- "$program" chat "$demo" "$(printf '%04000d' 0)"
check "a full disk" 1 - "standard output: cannot write" -- sh -c '"$0" chat "$1" -i "$2" "How many things are there?" >/dev/full' "$program" "$demo" "$picture"
check "a reader that leaves" 0 "I" "" -- sh -c '"$0" chat "$1" -i "$2" "Describe the picture." | head -c 1' "$program" "$demo" "$picture"

# a foreign locale writes and reads the same numbers
check "a foreign locale" 0 "Four." "" -- env LC_ALL=de_DE.UTF-8 LC_NUMERIC=de_DE.UTF-8 "$program" chat "$demo" -i "$picture" -t 0.1 "How many things are there?"

# a conversation from a pipe, saved and continued
cat >"$here/lines" <<END
/image $picture
How many things are there?
What colour is the background?
/save $here/saved.json
/reset
/image '$demo/scenes/001.png'
How many things are there?
END
check "a conversation from a pipe" 0 "Four.
Blue.
One." "" -- sh -c '"$0" chat "$1" -t 0 <"$2"' "$program" "$demo" "$here/lines"
check "a saved conversation goes on" 0 "A lark." "" -- "$program" chat "$demo" -t 0 --load "$here/saved.json" "What is at the top left?"
check "with a picture that came on standard input" 0 "Four.
Blue." "" -- sh -c 'printf "How many things are there?\n/save $3/url.json\n/load $3/url.json\nWhat colour is the background?\n" | "$0" chat "$1" -t 0 -i "$2"' "$program" "$demo" "$url" "$here"
echo "/image -" >"$here/lines"
check "no picture between the lines of a pipe" 2 "" "/image -: standard input is read for the questions" -- sh -c '"$0" chat "$1" <"$2"' "$program" "$demo" "$here/lines"
echo "/nonsense" >"$here/lines"
check "an unknown word from a pipe" 2 "" "no /nonsense" -- sh -c '"$0" chat "$1" <"$2"' "$program" "$demo" "$here/lines"
echo "/save $here/none/x.json" >"$here/lines"
check "a place that cannot be written" 1 "" "$here/none/x.json" -- sh -c '"$0" chat "$1" <"$2"' "$program" "$demo" "$here/lines"

# as JSON
check "as JSON" 0 - "" -- "$program" chat "$demo" -i "$picture" --json "How many things are there?"
grep -q '"text": "Four.", "generated_ids": \[549, 1446, 2\], "finish_reason": "stop"' "$here/out" && grep -q '"image_tokens": 64' "$here/out" ||
  { echo "not ok as JSON: $(cat "$here/out")"; failed=1; }

# an answer that is cut says by what, and what to do: by the window, which a long question nearly fills, or by --max-tokens
sevens() { head -c "$1" /dev/zero | tr '\0' 7; }
check "cut by the window" 0 - "the answer is cut: the model's window of 1024 positions is full, 996 of them the prompt's; a shorter question or a new conversation" -- "$program" chat "$demo" "$(sevens 990)"
check "cut by the window, as JSON" 0 - "" -- "$program" chat "$demo" --json "$(sevens 1000)"
grep -q '"finish_reason": "length", "cut_by": "window"' "$here/out" && grep -q '"total_tokens": 1024' "$here/out" || { echo "not ok cut by the window, as JSON: $(cat "$here/out")"; failed=1; }
check "cut by --max-tokens, as JSON" 0 - "" -- "$program" chat "$demo" -n 2 --json -i "$picture" "Describe the picture."
grep -q '"finish_reason": "length", "cut_by": "max_tokens"' "$here/out" || { echo "not ok cut by --max-tokens, as JSON: $(cat "$here/out")"; failed=1; }

exit $failed
