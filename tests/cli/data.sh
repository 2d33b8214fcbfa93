#!/bin/sh
# Training data as people have them: shards and captions mixed by weights, loaded by several threads, a run that is stopped
# and killed in between; samples that are broken, and how many of them a run accepts.
#   data.sh PROGRAM GOLDENS
set -eu
program=$1
case=$(cd "$2" && pwd)/llava/train-stage1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
fails() { # WORDS COMMAND...
  words=$1; shift
  if "$@" >"$folder/out" 2>"$folder/err"; then echo "expected an error that says '$words'" >&2; exit 1; fi
  grep -q -- "$words" "$folder/err" || { echo "expected '$words' in: $(cat "$folder/err")" >&2; exit 1; }
}
train() { "$program" train "$@" --threads 1; }
recipe() { # FOLDER DATA [MORE LINES]: stage 1 on the two lists of data
  printf 'model:\n  llm: %s/model/llava\n  vision: %s/model/clip\nstage: stage1\n' "$case" "$case"
  printf 'data:\n%s\noptimizer:\n  lr: 1.0e-3\nsave:\n  folder: %s/%s\n%s\n' "$2" "$folder" "$1" "${3:-}"
}

# 30 samples in three shards, 11 captions as lines
python3 - "$case/inputs" "$folder" <<PY
import io, json, sys, tarfile
inputs, folder = sys.argv[1:]
pictures = [open(f"{inputs}/{n}.png", "rb").read() for n in "ab"]
for shard in range(3):
    with tarfile.open(f"{folder}/part-{shard:02}.tar", "w") as tar:
        for i in range(10 * shard, 10 * shard + 10):
            text = f"Picture {i} shows a red ball." if i % 2 else json.dumps({"caption": f"Boat {i} sails."})
            for name, data in ((f"d/{i:04}.png", pictures[i % 2]), (f"d/{i:04}." + ("txt" if i % 2 else "json"), text.encode())):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
with open(f"{folder}/lines.jsonl", "w") as out:
    for i in range(11): out.write(json.dumps({"image": f"{inputs}/{'ab'[i % 2]}.png", "caption": f"Line {i} of a book."}) + "\n")
PY
mixture="  - path: $folder/part-{00..02}.tar
    weight: 3
  - path: $folder/lines.jsonl
    images: /
    weight: 1"

# the run that nobody stops; and the same with four threads that load, with an interrupt and two kills, and with the
# compute threads of this machine otherwise
recipe whole "$mixture" 'steps: 25
batch: {size: 4, micro: 2}
seed: 7' >"$folder/whole.yaml"
train "$folder/whole.yaml" >"$folder/out"
grep -q 'given of 30 samples.*part-' "$folder/out"
grep -q 'given of 11 samples.*lines' "$folder/out"
sed "s|/whole$|/parts|" "$folder/whole.yaml" >"$folder/parts.yaml"
stop_at() { # STEP SIGNAL
  "$program" train "$folder/parts.yaml" --threads 1 --set workers=4 --set save.every=1 >"$folder/out" 2>"$folder/err" &
  pid=$!
  while [ ! -d "$folder/parts/step-$1" ] && kill -0 $pid 2>/dev/null; do sleep 0.005; done
  kill "-$2" $pid 2>/dev/null || true
  wait $pid 2>/dev/null || true
}
stop_at 7 INT
stop_at 12 KILL
stop_at 16 KILL
[ ! -f "$folder/parts/mm_projector.bin" ] || { echo "the run was too fast to be stopped" >&2; exit 1; }
train "$folder/parts.yaml" --set workers=2 >"$folder/out"
cmp "$folder/whole/mm_projector.bin" "$folder/parts/mm_projector.bin"
python3 - "$folder/whole" "$folder/parts" <<PY
import json, sys
whole, parts = ([json.loads(l) for l in open(f"{p}/metrics.jsonl")] for p in sys.argv[1:])
assert [(s["samples"], s["loss"]) for s in whole] == [(s["samples"], s["loss"]) for s in parts], "other samples after the run was stopped"
ids = sum((s["samples"] for s in whole), [])
shards, lines = [i for i in ids if i.startswith("d/")], [i for i in ids if i.startswith("line")]
assert len(ids) == 100 and len(shards) + len(lines) == 100 and 60 <= len(shards) <= 88, (len(shards), len(lines))
for seen, count in ((shards, 30), (lines, 11)): # a source is gone through before it begins again
    for begin in range(0, len(seen), count): assert len(set(seen[begin:begin + count])) == len(seen[begin:begin + count])
state = json.load(open(f"{sys.argv[2]}/step-25/state.json"))["data"]
assert state["place"] == 100 and [s["given"] for s in state["sources"]] == [len(shards), len(lines)], state
PY

# other weights, or other data under the same name, are another run
fails 'another recipe' train "$folder/parts.yaml" --set steps=26
sed 's/weight: 3/weight: 2/' "$folder/parts.yaml" >"$folder/other.yaml"
fails 'another recipe' train "$folder/other.yaml"
echo '{"image": "x.png", "caption": "one more"}' >>"$folder/lines.jsonl"
fails 'found 12 samples, expected the 11' train "$folder/parts.yaml"

# what a recipe says of data is checked with its line
recipe bad "$mixture" >"$folder/bad.yaml"
sed 's/weight: 1/weight: -1/' "$folder/bad.yaml" >"$folder/odd.yaml"
fails 'line 8: data: .*lines.jsonl: weight: found -1' train "$folder/odd.yaml"
sed '/weight: 1/d' "$folder/bad.yaml" >"$folder/odd.yaml"
fails 'line 5: data: 1 of 2 sources have a weight' train "$folder/odd.yaml"
sed 's/00..02/00..03/' "$folder/bad.yaml" >"$folder/odd.yaml"
fails 'line 6: .*part-03.tar' train "$folder/odd.yaml"
sed 's/lr: .*/lr: 50/' "$folder/bad.yaml" >"$folder/odd.yaml"
fails 'line 12: optimizer.lr: found 50' train "$folder/odd.yaml"

# 200 samples, of which one has no picture and one is no JSON: 1 % may be dropped, a sample more may not
python3 - "$case/inputs" "$folder/many.jsonl" <<PY
import json, sys
inputs, path = sys.argv[1:]
lines = [json.dumps({"image": f"{inputs}/{'ab'[i % 2]}.png", "caption": f"Line {i}."}) for i in range(200)]
lines[17] = json.dumps({"image": f"{inputs}/none.png", "caption": "Nothing."})
lines[60] = lines[60][:20]
open(path, "w").write("\n".join(lines) + "\n")
PY
recipe many "  - path: $folder/many.jsonl
    images: /" 'steps: 2
batch: {size: 100}' >"$folder/many.yaml"
train "$folder/many.yaml" >"$folder/out" 2>"$folder/err"
grep -q 'sample line 18 is skipped: .*none.png' "$folder/err"
grep -q 'is skipped: .*many.jsonl: line 61' "$folder/err"
grep -q 'usable 198, without a learnt token 0, broken 2' "$folder/out"
grep -q '2 samples skipped' "$folder/out"
echo 'broken: stop' | cat "$folder/many.yaml" - | sed 's|/many$|/stop|' >"$folder/stop.yaml"
fails '2 of 200 samples cannot be used, and the recipe says broken: stop' train "$folder/stop.yaml"
fails 'more than 0.5 % of them' train "$folder/many.yaml" --set save.folder="$folder/half" --set broken_share=0.005

# a picture that is cut off shows when it is decoded: in a dry run, which goes through all of them, or when its step comes
head -c 200 "$case/inputs/a.png" >"$folder/cut.png"
sed -i '61s|.*|{"image": "'"$folder"'/cut.png", "caption": "Cut."}|' "$folder/many.jsonl"
train "$folder/many.yaml" --set save.folder="$folder/dry" --dry-run >"$folder/out" 2>"$folder/err"
grep -q 'sample line 61 is skipped: .*cut.png' "$folder/err"
grep -q 'broken 2$' "$folder/out"
train "$folder/many.yaml" --set save.folder="$folder/dry" --set broken_share=0.005 --dry-run >"$folder/out" 2>"$folder/err"
grep -q 'the run would not begin: 2 of 200' "$folder/err"
fails 'samples cannot be used, more than 0.5 %' train "$folder/many.yaml" --set save.folder="$folder/cut" --set broken_share=0.005
grep -q 'skipped: .*cut.png' "$folder/err"
echo 'broken: skip' | cat "$folder/many.yaml" - | sed 's|/many$|/all|' >"$folder/skip.yaml"
train "$folder/skip.yaml" --set broken_share=0.001 >/dev/null 2>&1
echo ok
