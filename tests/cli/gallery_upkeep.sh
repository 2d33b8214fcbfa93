#!/bin/sh
# Galleries over time: dialogues as queries, the model in another type, remembered options, compacting, making anew, and being
# killed at any moment.
#   tests/cli/gallery_upkeep.sh SENSORIUM GOLDENS
set -u
program=$1 model=$2/components/clip_vit/hf-clip/model other=$2/components/clip_vit/openai-layout/model
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
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
check() {
  name=$1
  shift
  if "$@"; then echo "ok $name"; else echo "not ok $name"; failed=1; fi
}

cat >"$here/tools.py" <<'END'
import json, math, os, random, sqlite3, struct, sys

def picture(path, seed):
    rng = random.Random(seed)
    spots = bytearray(bytes(rng.randrange(256) for _ in range(3)) * 256)
    for _ in range(200): spots[rng.randrange(768)] = rng.randrange(256)
    head = b"BM" + struct.pack("<IHHI", 54 + 768, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, 16, 16, 1, 24, 0, 768, 0, 0, 0, 0)
    with open(path, "wb") as out: out.write(head + spots)

def pictures(folder, count):
    os.makedirs(folder, exist_ok=True)
    for i in range(int(count)): picture(f"{folder}/{i:03}.bmp", i)

def vectors(db):
    """Path to bytes of its vector; every row named once, none beyond the file's end."""
    data = open(db[:-3] + ".vec", "rb").read()
    width, rows = struct.unpack("<QQ", data[16:32])
    base = sqlite3.connect(db)
    assert base.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    assert not base.execute("PRAGMA foreign_key_check").fetchall()
    assert not base.execute("SELECT row FROM free WHERE row IN (SELECT row FROM windows)").fetchall()
    known = int(base.execute("SELECT value FROM meta WHERE name = 'rows'").fetchone()[0])
    assert known <= rows, (known, rows)
    found = {}
    for row, path in base.execute("SELECT row, path FROM windows JOIN files ON files.id = file WHERE state = 'indexed'"):
        assert row < known and path not in found
        found[path] = data[64 + row * width * 4:64 + (row + 1) * width * 4]
    return found

def equal(a, b):
    """The same files with the same vectors, bit by bit."""
    a, b = vectors(a), vectors(b)
    assert a and a == b, (len(a), len(b), [p for p in set(a) | set(b) if a.get(p) != b.get(p)][:3])

def same(a, path_a, b, path_b):
    assert vectors(a)[path_a] == vectors(b)[path_b]

def sums(text, image, both, path):
    """The score of a sum of two unit vectors is that of the hand-made normalised mean."""
    text, image, both = ({r["path"]: r["score"] for r in json.load(open(f))["results"]} for f in (text, image, both))
    length = math.sqrt(2 + 2 * text[path])  # of the sum: the picture is in the gallery, so its score is the cosine of the two
    for p in both: assert abs(both[p] - (text[p] + image[p]) / length) < 1e-6, p

def nudge(source, target, factor):
    """A model whose values are a little different, as further training leaves them."""
    data = bytearray(open(source, "rb").read())
    begin = 8 + struct.unpack("<Q", data[:8])[0]
    for at in range(begin, len(data) - 3, 4): data[at:at + 4] = struct.pack("<f", struct.unpack("<f", data[at:at + 4])[0] * float(factor))
    open(target, "wb").write(data)

globals()[sys.argv[1]](*sys.argv[2:])
END
tools() { python3 "$here/tools.py" "$@"; }
tools pictures "$here/pics" 60
db=$here/my.db
expect "a gallery" 0 '60 files: 60 indexed' index "$model" "$here/pics" -o "$db"

# sums: each part of length 1
first=$here/pics/007.bmp
"$program" search "$db" "a red car" --json --all -k 100 >"$here/text.json"
"$program" search "$db" -i "$first" --json --all -k 100 >"$here/image.json"
"$program" search "$db" "a red car" -i "$first" --json --all -k 100 >"$here/both.json"
check "a sum is the normalised mean" tools sums "$here/text.json" "$here/image.json" "$here/both.json" "$first"

# the same picture by other ways in: alone, under another name, given as a file; read by one thread ahead or at once
mkdir "$here/ways"
cp "$first" "$here/ways/no-ending"
"$program" index -q "$model" "$here/ways/no-ending" -o "$here/ways.db" --threads 1 >/dev/null
check "the same picture has the same vector, bit by bit" tools same "$db" "$first" "$here/ways.db" "$here/ways/no-ending"

# dialogues: the cosines of the reference case, similarity / exp(logit_scale)
case=$2/fromage/retrieve
fromage="--llm $case/model/opt --vision $case/model/clip"
# shellcheck disable=SC2086
"$program" index -q "$case/model" $fromage "$case/inputs" -o "$here/fromage.db" >/dev/null
cp "$case/inputs/q.png" "$here"
cat >"$here/dialogue.json" <<'END'
{"prompt": [{"type": "text", "text": "First the cat."}, {"type": "image", "path": "q.png"}, {"type": "text", "text": "Then the same cat at home[RET]"}]}
END
expect "a dialogue of texts and a picture" 0 '^-0\.1387  .*/i0\.png' search "$here/fromage.db" --dialogue "$here/dialogue.json" --all
sed 's/\[RET\]//' "$here/dialogue.json" >"$here/unasked.json"
expect "which asks by itself" 0 '^-0\.1387  .*/i0\.png' search "$here/fromage.db" --dialogue "$here/unasked.json" --all
echo '{"prompt": [{"type": "text", "text": "a small dog in the snow[RET]"}]}' >"$here/words.json"
expect "without pictures, as words" 0 '^-0\.0351  .*/i0\.png' search "$here/fromage.db" --dialogue "$here/words.json" --all
cat >"$here/chat.json" <<'END'
{"messages": [{"role": "user", "content": [{"type": "image", "path": "q.png"}, {"type": "text", "text": "Show me this at home."}]}]}
END
sed 's/q.png/nothing.png/' "$here/chat.json" >"$here/gone.json"
expect "a conversation as chat saves it" 0 '^-?[01]\.[0-9]+  ' search "$here/fromage.db" --dialogue "$here/chat.json" --all -k 1
expect "a picture that is not there" 1 'sensorium: error: .*nothing\.png' search "$here/fromage.db" --dialogue "$here/gone.json"
expect "CLIP takes no dialogues" 1 'sensorium: error: .*CLIP asks for no pictures' search "$db" --dialogue "$here/words.json"

# the same model in another type: said; trained further: another one
stored() {
  cp -r "$model" "$here/$1"
  rm "$here/$1/pytorch_model.bin"
  "$program" convert "$model/pytorch_model.bin" "$here/$1/model.safetensors" -t "$1" >/dev/null
}
stored f32
expect "the same values in another file" 0 '^cosines' search "$db" "a red car" --model "$here/f32"
check "nothing is said about them" sh -c "! grep -q warning '$here/out'"
for type in f16 bf16; do
  stored $type
  expect "the model in $type" 0 'warning: .*my.db was made by this model with its weights in another type' search "$db" "a red car" --model "$here/$type"
done
expect "and a run of it adds nothing" 0 '60 unchanged' index "$here/f16" "$here/pics" -o "$db"
cp -r "$here/f32" "$here/trained"
tools nudge "$here/f32/model.safetensors" "$here/trained/model.safetensors" 1.0001
expect "a model that was trained further" 1 'was made by another model' search "$db" "a red car" --model "$here/trained"
expect "a name with blanks around it is another name" 1 'sensorium: error: ' search "$db" "a red car" --model " $model "

# how pictures are taken is remembered
expect "EXIF ignored" 0 '60 files: 60 indexed' index "$model" "$here/pics" -o "$here/plain.db" --exif ignore --alpha drop
expect "remembered by a search" 0 '^1\.0000' search "$here/plain.db" -i "$first"
expect "and by the next run" 0 '60 unchanged' index "$model" "$here/pics" -o "$here/plain.db"
expect "another choice is another gallery" 1 'was made by another model' search "$here/plain.db" -i "$first" --exif apply

# gaps are closed; whatever of it was done when the process ended, the gallery is whole
rm "$here"/pics/01?.bmp "$here"/pics/04?.bmp
"$program" index -q "$model" "$here/pics" -o "$db" >/dev/null
cp "$here/my.vec" "$here/before.vec"
expect "compacted" 0 '^20 rows' index --compact "$db"
expect "nothing more to do" 0 '"rows_freed": 0' index --compact "$db" --json
"$program" index -q "$model" "$here/pics" -o "$here/fresh.db" >/dev/null
check "the same vectors as in a new gallery" tools equal "$db" "$here/fresh.db"
mv "$here/my.vec" "$here/my.vec.new" && cp "$here/before.vec" "$here/my.vec"
expect "killed before the new file had its name: a reader finds it" 0 '^1\.0000  .*007\.bmp' search "$db" -i "$first"
expect "a writer gives it its name" 0 '40 unchanged' index "$model" "$here/pics" -o "$db"
check "and only that one is left" test ! -e "$here/my.vec.new" -a "$(tools equal "$db" "$here/fresh.db" && echo same)" = same

# made anew
expect "refused without --rebuild" 1 'or --rebuild' index "$other" "$here/pics" -o "$db"
expect "made anew by another model" 0 '40 files: 40 indexed' index "$other" "$here/pics" -o "$db" --rebuild
echo "no gallery" >"$here/letter.db"
expect "what is no gallery is not removed" 1 'sensorium: error: .*letter\.db' index "$model" "$here/pics" -o "$here/letter.db" --rebuild
check "it is still there" grep -q "no gallery" "$here/letter.db"
python3 -c "import sqlite3; sqlite3.connect('$here/foreign.db').execute('CREATE TABLE letters(text)')"
expect "nor is another program's database" 1 'sensorium: error: .*foreign\.db: is no gallery, so it is not removed' index "$model" "$here/pics" -o "$here/foreign.db" --rebuild
flock "$here/my.vec" sleep 20 >/dev/null 2>&1 &
holder=$!
sleep 0.3
expect "nor what is being written to" 1 'process [0-9]+ is writing to it' index "$model" "$here/pics" -o "$db" --rebuild
kill $holder
rm "$db"
expect "vectors without their database are nobody's to remove" 1 'my\.vec: is there without its database' index "$model" "$here/pics" -o "$db"

# killed at any moment, again and again, while files come, go and change; few descriptors; what the kills left is cleared away
ulimit -n 40
killed=$here/killed.db
for round in 1 2 3 4 5 6 7 8; do
  "$program" index -q "$model" "$here/pics" -o "$killed" >/dev/null 2>&1 &
  process=$!
  sleep "0.$(printf %02d $((round * 37 % 29 + 3)))"
  kill -9 $process 2>/dev/null
  wait $process 2>/dev/null
  if [ -e "$killed" ]; then
    "$program" search "$killed" -i "$first" -k 3 >"$here/out" 2>&1 || { echo "not ok a search after kill $round: $(cat "$here/out")"; failed=1; }
    tools vectors "$killed" || { echo "not ok whole after kill $round"; failed=1; }
  fi
  rm -f "$here/pics/$(printf %03d $((round + 20))).bmp" # its row goes to another
  tools picture "$here/pics/$(printf %03d $((round % 7))).bmp" $((1000 + round))
  tools picture "$here/pics/new$round.bmp" $((2000 + round))
done
"$program" index -q "$model" "$here/pics" -o "$killed" >/dev/null || { echo "not ok the last run"; failed=1; }
"$program" index -q "$model" "$here/pics" -o "$here/whole.db" >/dev/null
check "after eight kills the vectors are those of a new gallery" tools equal "$killed" "$here/whole.db"
check "nothing lies about" test -z "$(find "$here" -name '*.new')"
exit $failed
