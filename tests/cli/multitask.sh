#!/bin/sh
# A FROMAGe of one's own from nothing, as a person makes it: vocabulary, language model, the stage, then pictures found by words.
#   multitask.sh PROGRAM GOLDENS
set -eu
program=$(realpath "$1")
goldens=$(realpath "$2")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
fails() { # WORDS COMMAND...
  words=$1; shift
  if "$@" >out 2>err; then echo "expected an error that says '$words'" >&2; exit 1; fi
  grep -q -- "$words" err || { echo "expected '$words' in: $(cat err)" >&2; exit 1; }
}
train() { "$program" train "$@" --threads 1; }
inputs=$goldens/fromage/train/inputs
i=0
for caption in 'a cat sits on the mat' 'two dogs run in a green park' 'the red car' 'people on a beach at sunset'; do
  echo "{\"image\": \"$i.png\", \"caption\": \"$caption\"}" >>captions.jsonl
  echo "$caption" >>text.txt
  i=$((i + 1))
done

# a small OPT over a vocabulary of its own
mkdir words
"$program" tokenizer train words text.txt --kind byte-level --size 300 >/dev/null
cat >opt.yaml <<YAML
model:
  tokenizer: words
  fresh: {opt: {hidden_size: 32, intermediate_size: 64, layers: 2, heads: 2, context: 128}}
stage: texts
data: [{path: captions.jsonl, images: $inputs}]
optimizer: {lr: 3e-3}
batch: {size: 4}
steps: 60
save: {folder: opt}
YAML
train opt.yaml >/dev/null
"$program" inspect opt | grep -q OPT

# FROMAGe's stage between it and the tower of a LLaVA; the tower learns too, since nothing has taught its class token
cat >fromage.yaml <<YAML
model:
  llm: opt
  vision: $goldens/llava/hf15-newest-names-generate/model
  fresh: {retrieval: {size: 16, visual_tokens: 2}}
stage: multitask
data: [{path: captions.jsonl, images: $inputs}]
train: [{pattern: "vision.*"}, {pattern: "projector.*"}, {pattern: "retrieval.*"}]
optimizer: {lr: 3e-3, max_grad_norm: 1}
schedule: {name: step, warmup_steps: 5, every: 1000}
batch: {size: 4}
steps: 80
save: {folder: made, every: 20}
YAML
train fromage.yaml --dry-run >out
grep -q '4 samples' out
train fromage.yaml >out
tail -1 out | grep -q 'made/pretrained_ckpt.pth.tar'
[ -f made/model_args.json ] && [ -f made/visual_model/config.json ]
python3 - <<PY
import json
lines = [json.loads(l) for l in open("made/metrics.jsonl")]
parts = ("captioning", "retrieval_ce", "contrastive", "picture_found", "caption_found")
assert len(lines) == 80 and all(p in l for l in lines for p in parts), lines[0]
assert abs(lines[0]["loss"] - sum(lines[0][p] for p in parts[:3])) < 1e-3
assert lines[-1]["contrastive"] < lines[0]["contrastive"] and lines[-1]["captioning"] < lines[0]["captioning"]
PY

# the result opens by itself, and finds every picture by its caption
"$program" inspect made >out
grep -q FROMAGe out
"$program" index made "$inputs" -o my.db --quiet >/dev/null
i=0
while read -r caption; do
  "$program" search my.db "$caption[RET]" -k 1 --json --threads 1 >found.json
  grep -q "$i.png" found.json || { echo "$caption: found $(cat found.json)" >&2; exit 1; }
  i=$((i + 1))
done <text.txt
"$program" chat made -g my.db 'the red car[RET]' --threads 1 --json >answer.json
grep -q '2.png' answer.json
"$program" chat made -i "$inputs/2.png" 'What is it?' --threads 1 >/dev/null

# the picture itself, in a terminal that answers that it can show it; one that says nothing holds nobody up for long
cat >terminal.py <<'END'
import os, pty, select, sys
answer, command = sys.argv[1].encode().decode("unicode_escape").encode(), sys.argv[2:]
process, terminal = pty.fork()
if not process:
    os.execv(command[0], command)
said = b""
try:
    while select.select([terminal], [], [], 60)[0]:
        said += os.read(terminal, 65536)
        if answer and said.endswith(b"\x1b[c"):
            os.write(terminal, answer)
except OSError:
    pass
print("kitty" if b"\x1b_Ga=T" in said else "sixel" if b"\x1bPq" in said else "none", b"2.png" in said, os.waitpid(process, 0)[1])
END
for terminal in 'kitty \x1b_Gi=31;OK\x1b\\\x1b[?62;c' 'sixel \x1b[?62;4;6c' 'none \x1b[?1;2c' 'none '; do
  [ "$(python3 terminal.py "${terminal#* }" "$program" chat made -g my.db --pictures inline --threads 1 'the red car[RET]')" = "${terminal%% *} True 0" ] ||
    { echo "pictures in a terminal: $terminal" >&2; exit 1; }
done
"$program" chat made -g my.db --pictures inline --threads 1 'the red car[RET]' >answer.txt
! grep -q "$(printf '\033')" answer.txt

# taught further from where it stands, in its own layout
sed 's|^  llm.*|  path: made|;/^  vision/d;/fresh/d;/^train/d;s/folder: made/folder: further/;s/^steps.*/steps: 2/' fromage.yaml >further.yaml
train further.yaml >/dev/null
"$program" inspect further >/dev/null

# what goes wrong says so
fails 'found v1' train further.yaml --set template=v1 --set save.folder=odd
fails 'loss: {contrast: micro}' train further.yaml --set batch.micro=2 --set save.folder=odd
fails 'another recipe' train further.yaml --set seed=9
sed 's/retrieval: {size/retrieval: {width/' fromage.yaml >odd.yaml
fails width train odd.yaml
sed 's/^  llm: opt/  llm: none/;s/folder: made/folder: odd/' fromage.yaml >odd.yaml
fails none train odd.yaml
echo ok
