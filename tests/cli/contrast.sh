#!/bin/sh
# Captions and pictures that are compared with each other, in several processes: the contrast is over the pairs of all of them.
#   contrast.sh PROGRAM GOLDENS
set -eu
program=$(realpath "$1")
case=$(realpath "$2")/fromage/train
export PYTHONPATH="$(realpath "$(dirname "$0")")" PYTHONDONTWRITEBYTECODE=1
command -v mpirun >/dev/null || { echo "no mpirun here" >&2; exit 77; }
"$program" --version | grep -q ' mpi' || { echo "built without MPI" >&2; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1

# 13 pairs, no two alike, of which one has no picture; eight that are whole
python3 - <<PY
import json, struct, zlib
def png(path, seed, width=40, height=32):
    value = lambda x, y, c: (x * (seed * 7 + 3) + y * (seed * 5 + 1) + c * (40 + seed * 31)) * (1 + seed % 3) % 256
    rows = b"".join(b"\0" + bytes(value(x, y, c) for x in range(width) for c in range(3)) for y in range(height))
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    open(path, "wb").write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
words = "a cat sits on the mat two dogs run in green park red car people beach at sunset".split()
pairs = []
for i in range(13):
    png(f"{i}.png", i)
    pairs.append({"image": "gone.png" if i == 5 else f"{i}.png", "caption": " ".join(words[(i * 5 + k * (i % 4 + 1)) % len(words)] for k in range(2 + i % 6))})
open("pairs.jsonl", "w").writelines(json.dumps(p) + "\n" for p in pairs)
open("whole.jsonl", "w").writelines(json.dumps(p) + "\n" for p in pairs if p["image"] != "gone.png")
lines = open("whole.jsonl").readlines()[:8]
open("whole.jsonl", "w").writelines(lines)
PY
cat >recipe.yaml <<YAML
model:
  path: $case/model
  llm: $case/model/opt
  vision: $case/model/clip
stage: multitask
data: [{path: pairs.jsonl, images: .}]
optimizer: {lr: 1.0e-3, max_grad_norm: 1}
batch: {size: 5}
steps: 7
seed: 5
save: {folder: none, every: 2}
broken: skip
YAML
train() { # PROCESSES NAME [OPTIONS]
  number=$1 name=$2; shift 2
  if [ "$number" = 1 ]; then "$program" train recipe.yaml --threads 1 --set save.folder="$name" "$@"
  else timeout 100 mpirun -n "$number" "$program" train recipe.yaml --threads 1 --set save.folder="$name" "$@"; fi
}
same() { python3 -m same_run "$1" "$2"; } # NAME NAME

# 1 to 4 processes for steps of 5 pairs, neighbours together: 4 and 1 of them, 2, 2 and 1, and with four processes one that has none;
# less where the pair without its picture is met. Some steps join neighbours, some do not.
train 1 one >out 2>/dev/null
grep -q 'contrastive' out
for n in 2 3 4; do
  train $n "n$n" >out 2>err || { cat err >&2; exit 1; }
  [ "$(grep -c '^step ' out)" = 7 ]
  same one "n$n"
done
python3 - <<PY
import json
sizes = [len(json.loads(line)["samples"]) for line in open("one/metrics.jsonl")]
assert 4 in sizes and 5 in sizes, sizes
PY
# gone on with by another number
cp -r n3 resumed
rm -r resumed/step-7
train 2 resumed >/dev/null 2>&1
same one resumed
# as many passes as a process's share is
train 2 parts --set batch.micro=4 >/dev/null 2>&1
same one parts
if train 2 odd --set batch.micro=3 >/dev/null 2>err; then echo "expected an error" >&2; exit 1; fi
grep -q "3 of a process's 4 samples in a pass.*loss: {contrast: micro}" err
# a look before, by as many as there are
train 4 none --dry-run >out 2>/dev/null
grep -q '^processes *4' out

# contrast: micro: the k-th passes of all processes are compared with each other. Passes of two pairs in two processes are passes of four
# in one, if it meets the pairs in another order; in three, of which the first takes four pairs and the others two, of six and then two.
cp recipe.yaml plain.yaml
sed -i 's/pairs.jsonl/whole.jsonl/; s/^steps: .*/steps: 1/; s/size: 5/size: 8/' recipe.yaml
echo 'loss: {contrast: micro}' >>recipe.yaml
for way in "2 4 0,1,4,5,2,3,6,7" "3 6 0,1,4,5,6,7,2,3"; do
  set -- $way
  train "$1" "parts$1" --set batch.micro=2 >/dev/null 2>&1
  python3 - "parts$1" "$3" <<PY
import sys, same_run
lines = open("whole.jsonl").readlines()
order = [int(name.split()[1]) - 1 for name in same_run.lines(sys.argv[1])[0]["samples"]]
other = list(lines)
for place, taken in enumerate(sys.argv[2].split(",")): other[order[place]] = lines[order[int(taken)]]
open("other.jsonl", "w").writelines(other)
PY
  sed 's/whole.jsonl/other.jsonl/' recipe.yaml >other.yaml
  "$program" train other.yaml --threads 1 --set save.folder="one$1" --set batch.micro="$2" >/dev/null 2>&1
  python3 -c "import same_run; same_run.same_losses('parts$1', 'one$1'); same_run.same_parameters('parts$1', 'one$1')"
done

# gather: own: the contrast teaches a 1/n-th of what it does otherwise (tests/unit/test_multitask.c has why), and nothing else changes
sed 's/pairs.jsonl/whole.jsonl/; s/^steps: .*/steps: 1/; s/size: 5/size: 8/; s/^optimizer: .*/optimizer: {name: sgd, lr: 1.0e-3}/' plain.yaml >recipe.yaml
train 1 start --set optimizer.lr=1e-12 >/dev/null 2>&1
train 2 all >/dev/null 2>&1
echo 'loss: {gather: own}' >>recipe.yaml
for n in 1 2 3; do train $n "own$n" >/dev/null 2>&1; done
python3 - <<PY
import same_run
begin, every = (same_run.checkpoint(f)[0] for f in ("start", "all"))
for n in 1, 2, 3:
    own = same_run.checkpoint(f"own{n}")[0]
    assert same_run.close(same_run.lines("all")[0]["loss"], same_run.lines(f"own{n}")[0]["loss"], 2e-5)
    for name in (k for k in begin if k.startswith("value/") and k != "value/retrieval.row"): # which captions teach, too
        moved = [(a - b, c - b) for a, b, c in zip(every[name], begin[name], own[name])]
        share = sum(a * c for a, c in moved) / sum(a * a for a, _ in moved)
        assert abs(share - (1 if name.startswith("value/projector.") else 1 / n)) < 2e-3, (n, name, share)
PY

# a word of the recipe like any other: a checkpoint that was made with it is not gone on with without it
sed -i '/gather/d' recipe.yaml
if train 1 own1 >/dev/null 2>err; then echo "expected an error" >&2; exit 1; fi
grep -q 'another recipe' err

# what is no longer finite ends all, once, and nobody waits for the others' rows: a temperature whose exp is infinite
cp plain.yaml recipe.yaml
cp -r n3 ruined
rm -r ruined/step-7
python3 - <<PY
import json, struct
path = "ruined/step-6/parameters.safetensors"
data = bytearray(open(path, "rb").read())
n = struct.unpack("<Q", data[:8])[0]
at = 8 + n + json.loads(data[8:8 + n])["value/retrieval.logit_scale"]["data_offsets"][0]
data[at:at + 4] = struct.pack("<f", 100)
open(path, "wb").write(data)
PY
if train 2 ruined >/dev/null 2>err; then echo "expected an error" >&2; exit 1; fi
[ "$(grep -c '^sensorium: error:' err)" = 1 ] && grep -q 'step 7: the loss is .*not finite' err || { cat err >&2; exit 1; }
echo ok
