#!/bin/sh
# A LLaMA of grouped heads (6 and 2) goes to GGUF and back: the same answers from the file, the same bytes at the end.
# Then adapters: what is merged into a checkpoint, and what is refused.
#   convert.sh PROGRAM GOLDENS-RUNNER GOLDENS
set -eu
program=$1
runner=$2
case=$3/components/llama/hf-fp16-sharded-logits
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/case"
cp "$case/expected.json" "$case/expected.safetensors" "$folder/case/"
"$program" convert "$case/model" "$folder/case/model.gguf" -t f32
sed 's|"task"|"model": {"llm": "model.gguf"}, "task"|' "$case/request.json" >"$folder/case/request.json"
"$runner" "$program" "$folder/case"
"$program" convert "$case/model" "$folder/stored.gguf"
"$program" convert "$folder/stored.gguf" "$folder/back.safetensors"
"$program" convert "$case/model" "$folder/straight.safetensors"
# only the rotary tables of old files are left out on the way
"$program" compare "$folder/back.safetensors" "$folder/straight.safetensors" --rtol 0 --atol 0 2>/dev/null >"$folder/table" || true
[ "$(grep -c ' equal ' "$folder/table")" = 30 ]
grep 'only in' "$folder/table" | grep -v inv_freq && exit 1
if "$program" convert "$case/request.json" "$folder/x.gguf" 2>"$folder/error"; then exit 1; fi
grep -q '^sensorium: error: .*not a checkpoint' "$folder/error"
[ ! -e "$folder/x.gguf" ]

# ---- adapters ----
fails() { # WORDS COMMAND...
  words=$1; shift
  if "$@" >"$folder/out" 2>"$folder/err"; then echo "expected an error that says '$words'" >&2; exit 1; fi
  grep -q -- "$words" "$folder/err" || { echo "expected '$words' in: $(cat "$folder/err")" >&2; exit 1; }
}
equal() { # HOW-MANY A B: tensors that are the same to the last bit of a float or nearly so
  "$program" compare "$2" "$3" --rtol 0 --atol "${4:-0}" 2>/dev/null >"$folder/table" || true
  [ "$(grep -c ' equal ' "$folder/table")" = "$1" ] || { cat "$folder/table" >&2; exit 1; }
}

# ranks and alphas of single modules: what PEFT merges; the folder is a model with its tokenizer
base=$3/components/llama/batch-generate/model
peft=$3/../data/adapters/patterns
"$program" convert "$base" "$folder/whole" --merge "$peft" >"$folder/out" 2>"$folder/err"
grep -q '^6 low-rank updates merged, 0 % of them lost by rounding' "$folder/out"
[ ! -s "$folder/err" ] # it was made for a base of that name
equal 6 "$folder/whole/model.safetensors" "$peft/merged.safetensors" 1e-6
[ -s "$folder/whole/config.json" ] && [ -s "$folder/whole/tokenizer.model" ]
"$program" inspect "$folder/whole" >"$folder/out"
"$program" inspect "$base" >"$folder/plain"
[ "$(grep -c LLaMA "$folder/out")" = "$(grep -c LLaMA "$folder/plain")" ]
"$program" convert "$base" "$folder/whole.gguf" --merge "$peft" >/dev/null
"$program" convert "$folder/whole.gguf" "$folder/round.safetensors" >/dev/null
equal 21 "$folder/round.safetensors" "$folder/whole/model.safetensors"

# 64 x 64 ones and an update of 2^-9 everywhere: nothing of it is left in bf16
python3 - "$folder" <<PY
import json, os, struct, sys
def write(path, tensors):
    head, at, data = {}, 0, b""
    for name, (shape, values) in tensors.items():
        raw = struct.pack(f"<{len(values)}f", *values)
        head[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + len(raw)]}
        at, data = at + len(raw), data + raw
    text = json.dumps(head).encode()
    open(path, "wb").write(struct.pack("<Q", len(text)) + text + data)
place = sys.argv[1]
os.makedirs(place + "/ones")
write(place + "/ones.safetensors", {"m.weight": ([64, 64], [1] * 4096)})
for infix in "", ".default":
    adapter = place + "/adapter" + infix
    os.makedirs(adapter)
    names = [f"base_model.model.m.lora_{k}{infix}.weight" for k in "AB"]
    write(adapter + "/adapter_model.safetensors", {names[0]: ([1, 64], [2**-5] * 64), names[1]: ([64, 1], [2**-5] * 64)})
    json.dump({"r": 1, "lora_alpha": 2, "base_model_name_or_path": "someone/else"}, open(adapter + "/adapter_config.json", "w"))
PY
for type in f32 bf16; do "$program" convert "$folder/ones.safetensors" "$folder/$type.safetensors" -t $type --merge "$folder/adapter" >"$folder/$type.out" 2>"$folder/err"; done
"$program" convert "$folder/ones.safetensors" "$folder/blocks.gguf" -t q8_0 --merge "$folder/adapter" >"$folder/q8_0.out" 2>/dev/null
grep -q 'made for the base model someone/else, given is ' "$folder/err"
grep -q '1 low-rank updates merged, 0 % of them' "$folder/f32.out"
grep -q '1 low-rank updates merged, 100 % of them' "$folder/bf16.out"
grep -q '1 low-rank updates merged, [0-9.]* % of them' "$folder/q8_0.out"
"$program" convert "$folder/ones.safetensors" "$folder/same.safetensors" --merge "$folder/adapter.default" >/dev/null 2>&1
cmp "$folder/same.safetensors" "$folder/f32.safetensors"
python3 - "$folder" <<PY
import struct, sys
for name, value, code in ("f32", 1.001953125, "f"), ("bf16", 0x3F80, "H"):
    raw = open(f"{sys.argv[1]}/{name}.safetensors", "rb").read()
    values = raw[8 + struct.unpack("<Q", raw[:8])[0]:]
    assert set(struct.unpack(f"<4096{code}", values)) == {value}, name
PY

# what was trained beside the updates, each tensor of it damaged in its own way, is named, and nothing is written
llava=$3/llava/train-stage2/model/llava
python3 - "$folder" <<PY
import json, os, struct, sys
def write(path, tensors):
    head, at, data = {}, 0, b""
    for name, (kind, shape, raw) in tensors.items():
        head[name] = {"dtype": kind, "shape": shape, "data_offsets": [at, at + len(raw)]}
        at, data = at + len(raw), data + raw
    text = json.dumps(head).encode()
    open(path, "wb").write(struct.pack("<Q", len(text)) + text + data)
def floats(*shape, value=0.5):
    n = 1
    for d in shape: n *= d
    return "F32", list(shape), struct.pack(f"<{n}f", *[value] * n)
prefix = "base_model.model.model."
first = prefix + "mm_projector.0.weight"
whole = {first: floats(40, 24), prefix + "mm_projector.0.bias": floats(40), prefix + "mm_projector.2.weight": floats(40, 40), prefix + "mm_projector.2.bias": floats(40)}
b = prefix + "layers.0.self_attn.q_proj.lora_B.weight"
updates = {prefix + "layers.0.self_attn.q_proj.lora_A.weight": floats(1, 40), b: floats(40, 1)}
empty, packed = ("F32", [0], b""), ("U8", [480, 1], bytes(480))
cases = {"sound": (whole, updates), "empty": ({**whole, first: empty}, updates), "packed": ({**whole, first: packed}, updates), "turned": ({**whole, first: floats(24, 40)}, updates),
         "partial": ({k: v for k, v in whole.items() if k != first}, updates), "hollow": (whole, {**updates, b: empty}), "half": (whole, {k: v for k, v in updates.items() if k != b}),
         "wild": (whole, {**updates, b: floats(40, 1, value=float("nan"))})}
for name, (trained, updates) in cases.items():
    place = f"{sys.argv[1]}/{name}"
    os.makedirs(place)
    write(place + "/non_lora_trainables.bin", trained)
    write(place + "/adapter_model.safetensors", updates)
    json.dump({"r": 1, "lora_alpha": 2}, open(place + "/adapter_config.json", "w"))
PY
"$program" convert "$llava" "$folder/llava" --merge "$folder/sound" >"$folder/out"
grep -q '25 tensors' "$folder/out"
damaged() { # NAME WORDS
  fails "$2" "$program" convert "$llava" "$folder/damaged" --merge "$folder/$1"
  [ ! -e "$folder/damaged/model.safetensors" ]
}
damaged empty 'empty/non_lora_trainables.bin: .*mm_projector.0.weight: found \[0\].*sharded training run that did not gather'
damaged packed 'mm_projector.0.weight: found \[480, 1\] of u8.*packed by a 4-bit loader'
damaged turned "mm_projector.0.weight: found \[24, 40\], expected the base's \[40, 24\]"
damaged partial 'partial: model.mm_projector.0.weight is missing'
damaged hollow 'lora_B \[0\] are empty'
damaged half 'only one of lora_A and lora_B'
damaged wild 'q_proj.lora_B.weight: the low-rank update is not finite'
for name in empty packed; do fails 'mm_projector.0.weight: found' "$program" convert "$folder/$name/non_lora_trainables.bin" "$folder/damaged.safetensors"; done

# what fits nothing, or cannot be written, leaves what is there
cp "$folder/f32.safetensors" "$folder/kept"
fails 'found no lora_A of a tensor' "$program" convert "$base" "$folder/f32.safetensors" --merge "$folder/adapter"
fails 'expected a number from 1' sh -c "sed 's/\"r\": 1/\"r\": 1, \"rank_pattern\": {\"m\": 0}/' '$folder/adapter/adapter_config.json' >'$folder/adapter.default/adapter_config.json' && '$program' convert '$folder/ones.safetensors' '$folder/f32.safetensors' --merge '$folder/adapter.default'"
fails 'cannot write' sh -c "trap '' XFSZ; ulimit -f 4; exec '$program' convert '$folder/ones.safetensors' '$folder/f32.safetensors' --merge '$folder/adapter'"
fails 'is the base itself' "$program" convert "$base" "$base" --merge "$peft"
fails 'is a file; expected a name' "$program" convert "$folder/ones.safetensors" "$folder/ones" --merge "$folder/adapter"
fails "convert the GGUF file" "$program" convert "$folder/whole.gguf" "$folder/f32.safetensors" --merge "$peft"
cmp "$folder/kept" "$folder/f32.safetensors"
[ -z "$(find "$folder" -name '*.new')" ]
echo "the same logits, the same bytes"
