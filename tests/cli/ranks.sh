#!/bin/sh
# Training in several processes: the losses and parameters of one, whatever their number, whoever has pictures, and when one dies.
#   ranks.sh PROGRAM GOLDENS
set -eu
program=$1
here=$(dirname "$0")
case=$2/llava/train-stage2
command -v mpirun >/dev/null || { echo "no mpirun here" >&2; exit 77; }
"$program" --version | grep -q ' mpi' || { echo "built without MPI" >&2; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1

# 23 samples: texts alone first, in an order of ids that the runs below take as it comes
python3 - "$case/inputs/data.json" "$folder" <<PY
import json, sys
one = json.load(open(sys.argv[1]))
text = lambda i: {"id": f"t{i}", "conversations": [{"from": "human", "value": f"Hi {i}"}, {"from": "gpt", "value": f"Hello there, number {i}."}]}
mixed = [text(i) if i % 3 == 0 else dict(one[i % 2], id=f"p{i}") for i in range(22)] + [{"id": "mute", "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": ""}]}]
json.dump(mixed, open(sys.argv[2] + "/mixed.json", "w"))
json.dump([text(i) for i in range(8)], open(sys.argv[2] + "/texts.json", "w"))
PY
cat >"$folder/recipe.yaml" <<YAML
model:
  llm: $case/model/llava
  vision: $case/model/clip
stage: stage2
data:
  - path: $folder/mixed.json
    images: $case
optimizer:
  lr: 1.0e-3
  weight_decay: 0.1
  max_grad_norm: 1.0
schedule:
  name: cosine
steps: 7
seed: 3
batch:
  size: 5
  micro: 2
save:
  folder: $folder/none
  every: 2
broken: skip
YAML
train() { # PROCESSES NAME [OPTIONS]
  number=$1 name=$2; shift 2
  if [ "$number" = 1 ]; then "$program" train "$folder/recipe.yaml" --threads 1 --set save.folder="$folder/$name" "$@"
  else timeout 100 mpirun -n "$number" "$program" train "$folder/recipe.yaml" --threads 1 --set save.folder="$folder/$name" "$@"; fi
}
same() { python3 "$here/same_run.py" "$folder/$1" "$folder/$2"; } # NAME NAME

# 1, 2 and 4 processes for steps of 5 samples, of which some have fewer than others
train 1 one >"$folder/out" 2>"$folder/err1"
for n in 2 4; do
  train $n "n$n" >"$folder/out" 2>"$folder/err"
  [ "$(grep -c '^step ' "$folder/out")" = 7 ] # one line a step: only one process speaks
  [ "$(grep -c 'sample mute is skipped' "$folder/err")" = "$(grep -c 'sample mute is skipped' "$folder/err1")" ]
  same one "n$n"
done
# texts do not go through the tower: of 23 samples those called p have a picture
python3 - "$folder/one/metrics.jsonl" <<PY
import json, sys
for step in map(json.loads, open(sys.argv[1])): assert step["pictures"] == sum(s[0] == "p" for s in step["samples"]), step
PY
# stopped behind step 6 of one number of processes, gone on with another
for way in "one 2" "n4 1" "n2 3" "n4 8"; do
  set -- $way
  cp -r "$folder/$1" "$folder/resumed"
  rm -r "$folder/resumed/step-7"
  train "$2" resumed >"$folder/out" 2>/dev/null
  grep -q '^step 7/7' "$folder/out"
  [ "$(grep -c '^step .*/7 ' "$folder/out")" = 1 ] # not from the beginning
  same one resumed
  rm -r "$folder/resumed"
done

# the mean of means; low-rank updates and recomputation; SGD; one process without a sample; texts alone
cp "$folder/recipe.yaml" "$folder/plain.yaml"
both() { # PROCESSES MORE-OF-THE-RECIPE [OPTIONS]
  processes=$1 more=$2; shift 2
  printf '%s\n' "$more" | cat "$folder/plain.yaml" - >"$folder/recipe.yaml"
  rm -rf "$folder/a" "$folder/b"
  train 1 a --set steps=3 "$@" >/dev/null 2>"$folder/err" || { cat "$folder/err" >&2; exit 1; }
  train "$processes" b --set steps=3 "$@" >/dev/null 2>"$folder/err" || { cat "$folder/err" >&2; exit 1; }
  cp "$folder/plain.yaml" "$folder/recipe.yaml"
  same a b
}
both 2 'loss: {count: micro}'
both 2 'lora: {r: 4, targets: [q_proj]}
recompute: true'
sed -i 's/^optimizer:/&\n  name: sgd/; s/^stage: .*/stage: stage1/' "$folder/plain.yaml"
both 3 '' --set batch.size=2 --set batch.micro=1
sed -i '/^  name: sgd/d; s/^stage: .*/stage: stage2/' "$folder/plain.yaml"
sed -i "s|mixed.json|texts.json|" "$folder/plain.yaml"
both 2 ''
sed -i "s|texts.json|mixed.json|" "$folder/plain.yaml" "$folder/recipe.yaml"

# an error of one process is everybody's, once; nothing hangs
if train 2 odd --set optimizer.lr=1e30 >/dev/null 2>"$folder/err"; then echo "expected an error" >&2; exit 1; fi
[ "$(grep -c '^sensorium: error:' "$folder/err")" = 1 ]
sed -i 's/^broken: skip/broken: stop/' "$folder/recipe.yaml"
if train 2 odd2 >/dev/null 2>"$folder/err"; then echo "expected an error" >&2; exit 1; fi
[ "$(grep -c '^sensorium: error: .*broken: stop' "$folder/err")" = 1 ]
cp "$folder/plain.yaml" "$folder/recipe.yaml"

# each holds the moments of its own half: of 16 bytes a parameter, 12 are left
memory() { sed -n 's/^memory for learning *\([0-9.]*\) MB.*/\1/p'; }
alone=$(train 1 one --dry-run 2>/dev/null | memory)
half=$(train 2 one --dry-run 2>/dev/null | memory)
python3 -c "assert abs($half / $alone - 0.75) < 0.05, ($half, $alone)"

# what happens when: sums begin while the backward pass still runs
train 2 seen --timeline "$folder/timeline.json" >/dev/null 2>&1
python3 - "$folder/timeline.json" "$folder/seen/metrics.jsonl" <<PY
import json, sys
events = json.load(open(sys.argv[1]))
for rank in 0, 1:
    passes = [e for e in events if e["pid"] == rank and e["name"] == "forward and backward"]
    sums = [e for e in events if e["pid"] == rank and e["name"].startswith("sum gradients")]
    assert len(passes) == 7 and len(sums) >= 2 * 7
    early = [s for s in sums if any(p["ts"] < s["ts"] < p["ts"] + p["dur"] for p in passes)]
    assert early, (passes, sums)
summing = [json.loads(l)["summing"] for l in open(sys.argv[2])]
assert all(s["hidden"] <= s["seconds"] for s in summing) and any(s["hidden"] > 0 for s in summing), summing
PY

# a process that is killed ends all, and what is left names the last whole checkpoint; the same command goes on
for victim in 0 1; do
  train 2 "killed$victim" --set steps=100000 >/dev/null 2>"$folder/err" &
  run=$!
  while [ ! -d "$folder/killed$victim/step-8" ] && kill -0 $run 2>/dev/null; do sleep 0.05; done
  for process in $(pgrep -f "^$program train .*$folder/killed$victim"); do
    ! tr '\0' '\n' <"/proc/$process/environ" | grep -q "^OMPI_COMM_WORLD_RANK=$victim$" || kill -9 "$process"
  done
  if wait $run; then echo "expected the run to end" >&2; exit 1; fi
  named=$(sed -n 's/.*the last whole checkpoint is \([^;]*\);.*/\1/p' "$folder/err" | head -n 1)
  [ -f "$named/state.json" ] || { echo "no whole checkpoint is named: $(cat "$folder/err")" >&2; exit 1; }
  # what is named is what the run goes on from, but where the process that is left has finished another one in its last second
  train 2 "killed$victim" --set steps=100000 --dry-run >"$folder/out" 2>/dev/null
  done=$(sed -n 's/^steps .*, \([0-9]*\) done$/\1/p' "$folder/out")
  [ "$done" = "${named##*-}" ] || [ "$done" = $((${named##*-} + 2)) ]
done

# a wish to stop reaches all at the same step
train 3 stopped --set steps=100000 --set save.every=0 >/dev/null 2>&1 &
run=$!
while ! grep -q '"step":5,' "$folder/stopped/metrics.jsonl" 2>/dev/null; do sleep 0.05; done
kill -USR1 "$(pgrep -f "^mpirun .*$folder/stopped")"
wait $run || true
[ "$(ls -d "$folder"/stopped/step-* | wc -l)" = 1 ]
[ "$folder/stopped/step-$(wc -l <"$folder/stopped/metrics.jsonl")" = "$(ls -d "$folder"/stopped/step-*)" ]
echo ok
