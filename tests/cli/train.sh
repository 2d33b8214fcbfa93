#!/bin/sh
# What can go wrong with a training run, as a person meets it: each case says what, and nothing is lost.
#   train.sh PROGRAM GOLDENS
set -eu
program=$1
case=$2/llava/train-stage2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
recipe() { # FOLDER DATA [MORE LINES]
  printf 'model:\n  llm: %s/model/llava\n  vision: %s/model/clip\nstage: stage2\ndata:\n  - path: %s\n    images: %s\noptimizer:\n  lr: 1.0e-4\n' "$case" "$case" "$2" "$case"
  printf 'steps: 4\nbatch:\n  size: 2\nsave:\n  folder: %s/%s\n  every: 1\n' "$folder" "$1"
  [ $# -lt 3 ] || printf '%s\n' "$3"
}
says() { # WORDS, of the last error
  grep -q -- "$1" "$folder/err" || { echo "expected '$1' in: $(cat "$folder/err")" >&2; exit 1; }
}
fails() { # WORDS COMMAND...
  words=$1; shift
  if "$@" >"$folder/out" 2>"$folder/err"; then echo "expected an error that says '$words'" >&2; exit 1; fi
  says "$words"
}
train() { "$program" train "$@" --threads 1; }
recipe good "$case/inputs/data.json" >"$folder/good.yaml"

# a line a step reaches a pipe, with the loss in six digits
train "$folder/good.yaml" >"$folder/out"
[ "$(grep -c '^step .*loss [0-9]*\.[0-9]\{6\}' "$folder/out")" = 4 ]
grep -q '"samples":\[' "$folder/good/metrics.jsonl"

# what a run leaves is a model that opens; a checkpoint of it says what it is
answers() { # MODEL...: the ids of an answer about a picture
  "$program" chat "$@" -i "$case/inputs/a.png" -n 4 -t 0 --threads 1 --json "What is it?" 2>/dev/null | sed 's/.*"generated_ids": \(\[[^]]*\]\).*/\1/'
}
[ "$(answers "$folder/good" --vision "$case/model/clip" | tr -cd , | wc -c)" = 3 ]
cmp "$folder/good/config.json" "$case/model/llava/config.json"
fails 'a checkpoint that `sensorium train` goes on from, not a model' "$program" inspect "$folder/good/step-4"
train "$folder/good.yaml" --set stage=stage1 --set template=plain --set save.folder="$folder/projector" --set optimizer.lr=1 >/dev/null
after=$(answers --llm "$case/model/llava" --connector "$folder/projector" --vision "$case/model/clip")
[ "$after" != "$(answers "$case/model/llava" --vision "$case/model/clip")" ] # it is the one that learnt

# a full disk while a checkpoint is written: the last whole one stays, and the run goes on from it
recipe full "$case/inputs/data.json" >"$folder/full.yaml"
train "$folder/full.yaml" --set save.every=0 --set steps=4 --dry-run >"$folder/out"
grep -q 'memory for learning.*values of a pass' "$folder/out"
grep -q '^time ' "$folder/out"
fails 'cannot write' sh -c "trap '' XFSZ; ulimit -f 64; exec \"$program\" train \"$folder/full.yaml\" --threads 1"
[ -z "$(find "$folder/full" -name '*.part*')" ]
train "$folder/full.yaml" >/dev/null
cmp "$folder/good/model.safetensors" "$folder/full/model.safetensors"
rm -r "$folder/full/step-4"
cp -r "$folder/full/step-3" "$folder/whole-3"
fails "cannot write.*; $folder/full/step-3 stays, and the same command goes on from it" sh -c "trap '' XFSZ; ulimit -f 64; exec \"$program\" train \"$folder/full.yaml\" --threads 1"
diff -r "$folder/full/step-3" "$folder/whole-3"
train "$folder/full.yaml" >"$folder/out"
grep -q '^step 4/4 ' "$folder/out"
cmp "$folder/good/model.safetensors" "$folder/full/model.safetensors"

# a checkpoint that is not whole any more is refused, and the one before it is next
damage() { # WHAT WORDS
  rm -r "$folder/full/step-4"
  cp -r "$folder/good/step-4" "$folder/full/"
  (cd "$folder/full/step-4" && eval "$1")
  fails "$2" train "$folder/full.yaml"
}
damage 'truncate -s -1 parameters.safetensors' 'step-4/parameters.safetensors: .*truncated'
says "take $folder/full/step-4 away, and the run goes on from step-3"
damage 'rm parameters.safetensors' 'No such file.*goes on from step-3'
damage ': >state.json' 'state.json: .*not valid JSON.*goes on from step-3'
damage 'sed -i s/.version.:3/\"version\":4/ state.json' 'version: found 4, expected at most 3'
damage 'sed -i s/.place.:8/\"place\":7/ state.json' 'not a whole checkpoint'
damage 'sed -i "s/.updates.:.4,/\"updates\":[/" state.json' 'updates: found 24 numbers, expected 25'
rm -r "$folder/full/step-4"
train "$folder/full.yaml" >/dev/null
cmp "$folder/good/model.safetensors" "$folder/full/model.safetensors"

# an export that cannot be written leaves the one that is there
cp "$folder/good/model.safetensors" "$folder/before"
fails 'cannot write' sh -c "trap '' XFSZ; ulimit -f 64; exec \"$program\" train \"$folder/good.yaml\" --threads 1"
cmp "$folder/before" "$folder/good/model.safetensors"

# folders that are not there are made, those around them too
train "$folder/good.yaml" --set save.folder="$folder/runs/new" --set steps=1 >/dev/null
[ -e "$folder/runs/new/metrics.jsonl" ]
fails 'good.yaml/new: cannot make the folder: Not a directory' train "$folder/good.yaml" --set save.folder="$folder/good.yaml/new"

# names of folders are JSON strings, whatever is in them
recipe named "$case/inputs/data.json" | sed 's|folder: .*|folder: "'"$folder"'/a \\"b\\"\\nc"|;s/^steps.*/steps: 1/' >"$folder/named.yaml"
train "$folder/named.yaml" --json >"$folder/out"
python3 - "$folder" <<PY
import json, os, sys
run = sys.argv[1] + '/a "b"\nc'
last = json.loads(open(sys.argv[1] + "/out").read().splitlines()[-1])
assert last["exported"].startswith(run) and os.path.exists(last["exported"]) and last["steps"] == 1, last
assert [json.loads(line)["step"] for line in open(run + "/metrics.jsonl")] == [1]
PY

# a checkpoint as the result, without another step
rm "$folder/good/model.safetensors"
cp "$folder/good/metrics.jsonl" "$folder/metrics"
train "$folder/good.yaml" --export >"$folder/out"
grep -q '4 steps' "$folder/out"
cmp "$folder/before" "$folder/good/model.safetensors"
cmp "$folder/metrics" "$folder/good/metrics.jsonl"
fails 'no checkpoint' train "$folder/good.yaml" --set save.folder="$folder/none" --export
fails 'does not go with it' train "$folder/good.yaml" --export --dry-run

# another recipe, an unknown word, a missing file, nothing to learn
fails 'another recipe' train "$folder/good.yaml" --set optimizer.lr=1e-3
recipe odd "$case/inputs/data.json" 'lora:
  r: 4
  tragets: [q_proj]' >"$folder/odd.yaml"
fails 'odd.yaml: line 18: tragets: there is no such word' train "$folder/odd.yaml"
for words in 'optimiser: {lr: 1}/line 16: optimiser: there is no such word' 'steps: 3/line 16: steps: stands here a second time' 'compute: fp8/fp8; .*line: 16' 'template: odd/line 16: template: found odd, expected plain' \
  'train: [{pattern: "decoder.layers.9.*"}]/line 16: train: found decoder.layers.9.\*, which fits no parameter' 'freeze: [nothing]/line 16: freeze: found nothing, which fits' 'freeze: ["*"]/odd.yaml: nothing learns' \
  'lora: {r: 2, targets: [other_proj]}/line 16: lora.targets: found other_proj, which fits no linear layer' 'lora: {r: 0, targets: [q_proj]}/line 16: lora.r: found 0'; do
  recipe odd "$case/inputs/data.json" "${words%%/*}" >"$folder/odd.yaml"
  fails "${words#*/}" train "$folder/odd.yaml"
done
: >"$folder/odd.yaml"
fails 'odd.yaml: the recipe is empty' train "$folder/odd.yaml"
fails 'absent.yaml: No such file' train "$folder/absent.yaml"
recipe missing "$folder/none.json" >"$folder/missing.yaml"
fails 'none.json' train "$folder/missing.yaml"
for way in model.llm model.vision; do fails "$folder/nowhere: [Nn]o such file" train "$folder/good.yaml" --set save.folder="$folder/other" --set $way="$folder/nowhere"; done
recipe far "$case/inputs/data.json" | sed "s|images: .*|images: $folder/none|" >"$folder/far.yaml"
fails 'none of 2 samples can be used: 2 are broken, 0 without' train "$folder/far.yaml"
says 'sample 1 is skipped: .*none/inputs/a.png: cannot read'
echo '[]' >"$folder/empty.json"
: >"$folder/empty.tsv"
: >"$folder/empty.jsonl"
for empty in json jsonl tsv; do
  recipe empty "$folder/empty.$empty" >"$folder/empty.yaml"
  fails "empty.yaml: line 6: .*empty.$empty: the data set is empty" train "$folder/empty.yaml"
done
echo '[{"id": "mute", "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": ""}]}]' >"$folder/mute.json"
recipe mute "$folder/mute.json" >"$folder/mute.yaml"
fails 'no learnt token in 1 of 1 samples' train "$folder/mute.yaml" --set batch.size=1
says 'sample mute'
# an answer that lies behind the window is counted and named
fails 'no learnt token in 2 of 2 samples' train "$folder/good.yaml" --set save.folder="$folder/short" --set max_length=20 --dry-run
says 'no learnt token in 20 positions: the answer lies behind max_length'
# a step of such samples alone is said to have no loss, and the run goes on
python3 - "$folder" <<PY
import json, sys
json.dump([{"id": answer or "mute", "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": answer}]} for answer in ("", "yes", "b")], open(sys.argv[1] + "/some.json", "w"))
PY
recipe some "$folder/some.json" 'broken: skip' | sed 's/^steps.*/epochs: 1/;s/size: 2/size: 1/' >"$folder/some.yaml"
train "$folder/some.yaml" >"$folder/out" 2>/dev/null
grep -q '^step ./3  loss none  learnt 0  norm 0' "$folder/out"
[ "$(grep -c '^step ./3  loss [0-9.]*  learnt 3 ' "$folder/out")" = 1 ]
[ "$(grep -c '"loss":null' "$folder/some/metrics.jsonl")" = 1 ]
# a learning rate that ends in numbers that are not finite: the step and the tensor are named, the checkpoint of before stays,
# and with a lower rate the run goes on from it
recipe wild "$case/inputs/data.json" | sed 's/^steps.*/steps: 60/;s/every: 1/every: 0/;s/^optimizer:/&\n  name: sgd/' >"$folder/wild.yaml"
wild="--set optimizer.lr=10 --set optimizer.weight_decay=10" # weights times -99 a step: not finite soon, whatever the rounding
fails 'there is no checkpoint yet: begin again with a lower optimizer.lr' train "$folder/wild.yaml" $wild
rm -r "$folder/wild"
train "$folder/wild.yaml" --set save.every=2 --set save.keep=40 >/dev/null
kept=$folder/wild/step-2
find "$folder/wild" -maxdepth 1 -name 'step-*' ! -name step-2 -exec rm -r {} +
cp -r "$kept" "$folder/kept"
fails 'another recipe: its rates' train "$folder/wild.yaml" $wild
says '--new-rates goes on'
fails 'another recipe (data' train "$folder/wild.yaml" --new-rates --set seed=9
fails 'step [0-9]*: the loss is' train "$folder/wild.yaml" $wild --new-rates
says "$kept stays: with --new-rates a lower optimizer.lr goes on from it"
says 'decoder[^ ]*: .* not finite'
diff -r "$kept" "$folder/kept"
train "$folder/wild.yaml" --set optimizer.lr=1e-5 --new-rates >"$folder/out"
grep -q '^step 3/60 .*lr 1e-05' "$folder/out"
grep -q '^step 60/60 ' "$folder/out"
train "$folder/wild.yaml" --set optimizer.lr=1e-5 >"$folder/out" # the new rates are the run's now

# an answer longer than the model's own window, or than max_length, is cut, counted and named
python3 - "$folder" <<PY
import json, sys
sample = lambda id, answer: [{"id": id, "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": answer}]}]
json.dump(sample("long", "word " * 3000), open(sys.argv[1] + "/long.json", "w"))
PY
recipe long "$folder/long.json" >"$folder/long.yaml"
train "$folder/long.yaml" --set batch.size=1 --set steps=1 --set max_length=4000 --dry-run >"$folder/out" 2>"$folder/err"
grep -q 'longest sample 2048 positions, 1 cut' "$folder/out"
says "sample long is cut: 2048 of its 9093 positions are kept (the model's window), and 1957 of 9002 learnt tokens"
train "$folder/long.yaml" --set batch.size=1 --set steps=1 --set max_length=100 >"$folder/out" 2>"$folder/err"
grep -q '^step 1/1  loss [0-9]' "$folder/out"
says 'sample long is cut: 100 of its 9093 positions are kept (max_length), and 9 of'

# the published rule masks a sample whose turns it counts otherwise than it encodes them (<unk>, its pad, in an answer): trace keeps
# to the rule, a run learns the answer as it stands
cp -rL "$case" "$folder/unknown"
sed -i 's/Two men sail/Two <unk> men sail/' "$folder/unknown/request.json" "$folder/unknown/inputs/data.json"
"$program" trace "$folder/unknown" -o "$folder/unknown/out" >/dev/null
recipe unknown "$folder/unknown/inputs/data.json" >"$folder/unknown.yaml"
train "$folder/unknown.yaml" --set steps=1 >/dev/null
python3 - "$folder/unknown" <<PY
import glob, json, struct, sys
data = open(glob.glob(sys.argv[1] + "/out/*.safetensors")[0], "rb").read()
n = struct.unpack("<Q", data[:8])[0]
t = json.loads(data[8:8 + n])["lm.labels"]
rows, columns = t["shape"]
begin, end = t["data_offsets"]
labels = struct.unpack(f"<{rows * columns}" + {"I64": "q", "I32": "i"}[t["dtype"]], data[8 + n + begin:8 + n + end])
assert [sum(l >= 0 for l in labels[r * columns:r * columns + columns]) for r in range(2)] == [24, 0]
assert json.loads(open(sys.argv[1] + "/metrics.jsonl").readline())["learnt"] > 24
PY

# 23 samples, 3 epochs, stopped after step 7 inside an epoch: every epoch has every sample once, and the ids of all steps
# are those of a run that was left alone
python3 - "$case/inputs/data.json" "$folder/many.json" <<PY
import json, sys
one = json.load(open(sys.argv[1]))
json.dump([dict(one[i % 2], id=f"s{i}") for i in range(23)], open(sys.argv[2], "w"))
PY
recipe whole "$folder/many.json" | sed 's/^steps.*/epochs: 3/;s/size: 2/size: 4\n  micro: 2/' >"$folder/whole.yaml"
train "$folder/whole.yaml" --set save.every=7 >/dev/null
sed "s|$folder/whole|$folder/parts|" "$folder/whole.yaml" >"$folder/parts.yaml"
"$program" train "$folder/parts.yaml" --threads 1 --set save.every=7 >/dev/null 2>&1 &
pid=$!
while [ ! -d "$folder/parts/step-7" ] && kill -0 $pid 2>/dev/null; do sleep 0.02; done
kill -9 $pid 2>/dev/null || true
wait $pid 2>/dev/null || true
train "$folder/parts.yaml" >/dev/null
cmp "$folder/whole/model.safetensors" "$folder/parts/model.safetensors"
python3 - "$folder/whole/metrics.jsonl" "$folder/parts/metrics.jsonl" <<PY
import json, sys
whole, parts = ([json.loads(l)["samples"] for l in open(p)] for p in sys.argv[1:])
assert whole == parts, "other samples after the run was stopped"
ids = sum(whole, [])
assert len(ids) == 69 and all(sorted(ids[23 * e:23 * e + 23]) == sorted(ids[:23]) and len(set(ids[23 * e:23 * e + 23])) == 23 for e in range(3))
PY

# an adapter and what was trained beside it, merged by hand: the model that the run merged itself
recipe lora "$case/inputs/data.json" 'lora:
  r: 4
  alpha: 8
  targets: [q_proj, v_proj]
  export: both' >"$folder/lora.yaml"
train "$folder/lora.yaml" >/dev/null
"$program" convert "$case/model/llava" "$folder/merged" --merge "$folder/lora/adapter" >"$folder/out" 2>"$folder/err"
grep -q '4 low-rank updates merged' "$folder/out"
"$program" compare "$folder/merged/model.safetensors" "$folder/lora/model.safetensors" --rtol 0 --atol 0 >"$folder/table"
cmp "$folder/merged/config.json" "$case/model/llava/config.json"
[ -s "$folder/merged/tokenizer.model" ]
[ "$(answers "$folder/lora/adapter" --base "$case/model/llava" --vision "$case/model/clip")" = "$(answers "$folder/merged" --vision "$case/model/clip")" ]
rm "$folder/lora/adapter/non_lora_trainables.bin"
fails 'projector missing: non_lora_trainables.bin' "$program" convert "$case/model/llava" "$folder/merged" --merge "$folder/lora/adapter"

# the same of a model in Hugging Face's layout: the adapter on its base, with the projector that learnt beside it, the run's own merged
# model and the one merged by hand give the same answer; PEFT writes no config.json beside an adapter
hf=$2/llava/hf15-logits/model
recipe hf "$case/inputs/data.json" 'template: hf
lora: {r: 2, targets: [q_proj, v_proj], export: both}' | sed "/vision:/d;s|llm: .*|path: $hf|;s/lr: .*/lr: 0.1/" >"$folder/hf.yaml"
train "$folder/hf.yaml" >/dev/null
"$program" convert "$hf" "$folder/hf-merged" --merge "$folder/hf/adapter" >/dev/null 2>&1
ids=$(answers "$folder/hf")
[ "$ids" != "$(answers "$hf")" ]
[ "$ids" = "$(answers "$folder/hf-merged")" ]
[ "$ids" = "$(answers "$folder/hf/adapter" --base "$hf")" ]
rm "$folder/hf/adapter/config.json"
[ "$ids" = "$(answers "$folder/hf/adapter" --base "$hf")" ]
"$program" inspect "$folder/hf/adapter" --base "$hf" >"$folder/out"
grep -q 'layout  *Hugging Face, LoRA on a base model' "$folder/out"

# at a rate of 0 losses can be looked at, and nothing moves
train "$folder/good.yaml" --set save.folder="$folder/still" --set steps=1 --set optimizer.lr=0 --set optimizer.weight_decay=0.1 >"$folder/out"
grep -q '^step 1/1  loss 8.26837[0-9]  learnt 41 ' "$folder/out"
"$program" convert "$case/model/llava" "$folder/before.safetensors" >/dev/null
"$program" compare "$folder/still/model.safetensors" "$folder/before.safetensors" --rtol 0 --atol 0 >/dev/null
grep -v '^  lr:' "$folder/good.yaml" | sed 's/^optimizer:/&\n  beta1: 0.9/' >"$folder/none.yaml"
fails 'none.yaml: optimizer.lr: missing' train "$folder/none.yaml"
grep -v '^  lr:' "$folder/good.yaml" | sed 's/^optimizer:/optimizer: {"lr": 1.0e-4}/' >"$folder/flow.yaml" # as JSON has it
train "$folder/flow.yaml" --dry-run >/dev/null

# texts alone: the projector is left alone
echo '[{"id": "t", "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello."}]}]' >"$folder/text.json"
recipe text "$folder/text.json" >"$folder/text.yaml"
train "$folder/text.yaml" --set batch.size=1 --set optimizer.weight_decay=0.1 >"$folder/out"
grep -q 'pictures  *none: .*(the projector) is left as it is' "$folder/out"
"$program" compare "$folder/text/model.safetensors" "$folder/before.safetensors" --rtol 0 --atol 0 >"$folder/table" 2>/dev/null || true
[ "$(grep -c 'mm_projector.* equal ' "$folder/table")" = 4 ]
[ "$(grep -c ' equal ' "$folder/table")" = 4 ] # all else has learnt
echo ok
