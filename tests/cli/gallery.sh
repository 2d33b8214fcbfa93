#!/bin/sh
# Galleries as a person uses them: index, search, and what goes wrong between the two.
#   tests/cli/gallery.sh SENSORIUM GOLDENS
set -u
program=$1 model=$2/components/clip_vit/hf-clip/model other=$2/components/clip_vit/openai-layout/model inputs=$2/components/clip_vit/hf-clip/inputs
here=$(mktemp -d)
trap 'chmod -R u+w "$here"; rm -rf "$here"' EXIT
failed=0

# expect NAME EXIT PATTERN COMMAND...: exit code, and a line that matches
expect() {
  name=$1 code=$2 pattern=$3
  shift 3
  "$program" "$@" >"$here/out" 2>&1
  got=$?
  if [ "$got" = "$code" ] && grep -Eq -- "$pattern" "$here/out"; then echo "ok $name"
  else echo "not ok $name: exit $got, expected $code with $pattern"; cat "$here/out"; failed=1; fi
}

# 200 small pictures of noise, none like another
python3 - "$here/pics" <<'END'
import os, random, struct, sys
os.makedirs(sys.argv[1])
random.seed(1)
for i in range(200):
    pixels = random.randbytes(3) * 256
    spots = bytearray(pixels)
    for _ in range(200):
        spots[random.randrange(768)] = random.randrange(256)
    head = b"BM" + struct.pack("<IHHI", 54 + 768, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, 16, 16, 1, 24, 0, 768, 0, 0, 0, 0)
    open(f"{sys.argv[1]}/{i:03}.bmp", "wb").write(head + spots)
END
db=$here/my.db

# killed at some moments, it goes on where it was
for delay in 0.15 0.2 0.25 0.3; do
  "$program" index "$model" "$here/pics" -o "$here/killed.db" >/dev/null 2>&1 &
  process=$!
  sleep $delay
  kill -9 $process 2>/dev/null
  wait $process 2>/dev/null
done
expect "after kill -9 the next run ends the work" 0 'the gallery holds 200 files; 0 could not' index "$model" "$here/pics" -o "$here/killed.db"
expect "and nothing is there twice" 0 '"searched": 200,' search "$here/killed.db" -i "$here/pics/000.bmp" --json

# the five bad files of every folder
: >"$here/pics/empty.jpg"
echo "a text" >"$here/pics/text.jpg"
head -c 1000 "$inputs/a.png" >"$here/pics/cut.png"
printf '\0\0\0\030ftypmp42' >"$here/pics/half.mp4"
{ head -c 60 "$inputs/a.png"; printf XXXX; tail -c +65 "$inputs/a.png"; } >"$here/pics/crc.png"
expect "bad files stop nothing" 0 '205 files: 200 indexed, 5 failed' index "$model" "$here/pics" -o "$db"
expect "they are listed" 0 'cut.png.*the file ends early' index --failed "$db"
expect "as JSON too" 0 '"reason": ".*empty' index --failed "$db" --json
sleep 2.1
expect "a second run reads nothing" 0 '205 unchanged' index "$model" "$here/pics" -o "$db"
expect "a picture finds itself" 0 '^1\.0000  .*/123\.bmp' search "$db" -i "$here/pics/123.bmp"
expect "by its file, with every digit" 0 '"searched"' search "$db" -i "$inputs/a.png" --json
cp "$here/out" "$here/by-file"
expect "on standard input" 0 '"searched"' search "$db" -i - --json <"$inputs/a.png"
cmp "$here/out" "$here/by-file" || { echo "not ok the same by standard input"; failed=1; }
expect "in a data URL" 0 '"searched"' search "$db" -i "data:image/png;base64,$(base64 -w0 "$inputs/a.png")" --json
cmp "$here/out" "$here/by-file" || { echo "not ok the same by a data URL"; failed=1; }
expect "what is in the gallery too" 0 '"score": 1.0,|"score": 0.99999|"score": 1.000000' search "$db" -i - --json -k 1 <"$here/pics/123.bmp"
expect "taken away as well" 0 '^-?0\.[0-9]+  /' search "$db" "a red car" --not - <"$here/pics/123.bmp"
expect "standard input twice" 2 'found "-" for 2 pictures' search "$db" -i - --not - <"$inputs/a.png"
expect "words find something" 0 '^-?0\.[0-9]+  /' search "$db" "a red car" -k 3
expect "a sum of both, less a third" 0 '^-?[01]\.[0-9]+  /' search "$db" "a red car" -i "$here/pics/001.bmp" --not "snow" --html "$here/page.html"
grep -q '<img loading="lazy" alt="" src="data:image/jpeg;base64,[^"]*"></a><figcaption>.*bmp' "$here/page.html" || { echo "not ok the page shows pictures"; failed=1; }
expect "more than there is gives all there is" 0 '"searched": 200,' search "$db" "a red car" -k 100000 --json --all
[ "$(grep -c '"path"' "$here/out")" = 200 ] || { echo "not ok all 200 are listed"; failed=1; }
expect "a score nobody has" 0 '^cosines; of the 200' search "$db" "a red car" --min-score 0.99

# deleted, moved, changed
mv "$here/pics/010.bmp" "$here/pics/ten.bmp"
rm "$here/pics/011.bmp"
cp "$here/pics/013.bmp" "$here/pics/012.bmp"
expect "deleted since: said" 0 '011\.bmp  \(deleted since\)' search "$db" "a" -k 200 --all
expect "moved, deleted, changed" 0 '204 files: 1 indexed, 0 failed, 202 unchanged, 1 moved; 1 are gone' index "$model" "$here/pics" -o "$db"
expect "what was moved is found at its new place" 0 '^1\.0000  .*/ten\.bmp' search "$db" -i "$here/pics/ten.bmp"
expect "equal pictures are folded" 0 '^1\.0000  .*/01[23]\.bmp  \(and [0-9]+ that look the same\)' search "$db" -i "$here/pics/012.bmp"

# half precision: half the bytes, the same picture first
expect "stored as f16" 0 '204 files: 199 indexed' index "$model" "$here/pics" -o "$here/half.db" --type f16
expect "a picture finds itself there too" 0 '^1\.0000  .*/123\.bmp' search "$here/half.db" -i "$here/pics/123.bmp"

# names with a quote, a line break, a byte that is no UTF-8: still JSON
mkdir "$here/odd"
cp "$here/pics/001.bmp" "$here/odd/$(printf 'a "b"\nc\\')"
cp "$here/pics/002.bmp" "$here/odd/$(printf 'd\377e')"
echo "no picture" >"$here/odd/$(printf 'f\377"')"
expect "odd names" 0 '3 files: 2 indexed, 1 failed' index "$model" "$here/odd" -o "$here/odd.db"
"$program" search "$here/odd.db" -i "$here/pics/001.bmp" --json >"$here/found"
"$program" index --failed "$here/odd.db" --json >"$here/failed"
python3 - "$here" <<'END' || { echo "not ok odd names as JSON"; failed=1; }
import json, sys
here = sys.argv[1]
paths = [r["path"] for r in json.load(open(here + "/found"))["results"]]
assert paths == [here + '/odd/a "b"\nc\\', here + "/odd/d\ufffde"], paths
assert [f["path"] for f in json.load(open(here + "/failed"))["failed"]] == [here + '/odd/f\ufffd"']
END

# zero pictures
mkdir "$here/none"
expect "an empty folder" 0 '^0 files' index "$model" "$here/none" -o "$here/none.db"
expect "a search in an empty gallery" 0 'the gallery is empty' search "$here/none.db" "a red car"
expect "no such folder" 1 'sensorium: error: .*nowhere: No such file' index "$model" "$here/nowhere" -o "$here/none.db"

# what must be refused, leaving everything as it was
before=$(cat "$db" "$here/my.vec" | cksum)
expect "another model's gallery" 1 'sensorium: error: .*was made by another model .* make a new gallery' index "$other" "$here/pics" -o "$db"
expect "a search with another model" 1 'sensorium: error: .*was made by another model' search "$db" -i "$inputs/a.png" --model "$other"
expect "other ways to take pictures" 1 'sensorium: error: .*was made by another model' index "$model" "$here/pics" -o "$db" --exif ignore
[ "$before" = "$(cat "$db" "$here/my.vec" | cksum)" ] || { echo "not ok a refused run changes nothing"; failed=1; }
expect "no gallery" 1 'sensorium: error: .*nothing.db: No such file.*makes a gallery' search "$here/nothing.db" "a"
cp "$inputs/a.png" "$here/picture.db"
expect "a file that is no gallery" 1 'sensorium: error: .*picture.db: .*not a database' search "$here/picture.db" "a"
cp "$db" "$here/swapped.db"
cp "$here/killed.vec" "$here/swapped.vec"
expect "vectors of another gallery" 1 'sensorium: error: .*swapped.vec: belongs to another gallery' search "$here/swapped.db" "a"
cp "$db" "$here/short.db"
head -c 9000 "$here/my.vec" >"$here/short.vec"
expect "a truncated vector file" 1 'sensorium: error: .*short.vec: truncated: found 9000 bytes' search "$here/short.db" "a"
rm "$here/short.vec"
expect "no vector file" 1 'sensorium: error: .*short.vec: cannot open' search "$here/short.db" "a"

# locked: by another program, by another writer
python3 -c "
import sqlite3, sys, time
c = sqlite3.connect('$db', isolation_level=None)
c.execute('BEGIN EXCLUSIVE')
open('$here/locked', 'w')
time.sleep(20)" >/dev/null 2>&1 &
holder=$!
while [ ! -e "$here/locked" ]; do sleep 0.05; done
expect "a locked database" 1 'sensorium: error: .*my.db: cannot write: .*locked; another process' index "$model" "$here/pics" -o "$db"
expect "which can be read all the same" 0 '^1\.0000' search "$db" -i "$here/pics/123.bmp"
kill $holder
wait $holder 2>/dev/null
flock "$here/my.vec" sleep 20 >/dev/null 2>&1 &
holder=$!
sleep 0.3
expect "a second writer" 1 'sensorium: error: .*my.db: process [0-9]+ is writing to it' index "$model" "$here/pics" -o "$db"
kill $holder

# a language model that asks for pictures: the cosines of its reference case, similarity / exp(logit_scale)
fromage=$2/fromage/retrieve
expect "FROMAGe's keys" 0 '^3 files: 3 indexed' index "$fromage/model" --llm "$fromage/model/opt" --vision "$fromage/model/clip" "$fromage/inputs" -o "$here/fromage.db"
expect "and what it asks for in words" 0 '^-0\.0351  .*/i0\.png' search "$here/fromage.db" "a small dog in the snow" --all

# read-only, the files and their folder; root may write anywhere, so somebody else does it there
mkdir "$here/fixed"
cp "$db" "$here/my.vec" "$here/fixed"
chmod a-w "$here/fixed" "$here/fixed/"*
if [ "$(id -u)" = 0 ]; then
  chmod a+rx "$here"
  printf '#!/bin/sh\nexec setpriv --reuid 65534 --regid 65534 --clear-groups "%s" "$@"\n' "$(realpath "$program")" >"$here/somebody"
  chmod a+rx "$here/somebody"
  program=$here/somebody
fi
if "$program" --version >/dev/null 2>&1; then
  expect "a read-only gallery can be searched" 0 '^1\.0000' search "$here/fixed/my.db" -i "$here/pics/123.bmp"
  expect "and not be changed" 1 'sensorium: error: .*(read-only|readonly|ermission)' index "$model" "$here/pics" -o "$here/fixed/my.db"
  expect "nor be compacted" 1 'sensorium: error: .*(read-only|readonly|ermission)' index --compact "$here/fixed/my.db"
  expect "nor be made anew" 1 'sensorium: error: .*(read-only|readonly|ermission)' index "$model" "$here/pics" -o "$here/fixed/my.db" --rebuild
  expect "nor a new one be made beside it" 1 'sensorium: error: .*(read-only|readonly|ermission)' index "$model" "$here/pics" -o "$here/fixed/new.db"
fi
exit $failed
