#!/bin/sh
# Evaluation as a person uses it: the benchmarks' own layouts, numbers against a small computation in Python, runs that were
# cut, and what is refused.
#   tests/cli/eval.sh SENSORIUM GOLDENS DATA DEMO
set -u
program=$1 goldens=$2/fromage data=$3 demo=$4
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
# fromage TASK DATA OPTIONS...: with the small FROMAGe and the pictures below
fromage() { echo eval "$goldens/logits/model" --llm "$goldens/logits/model/opt" --vision "$goldens/logits/model/clip" --images "$here/pics" "$@"; }

mkdir "$here/pics"
cp "$goldens/logits/inputs/a.png" "$here/pics/100.png"
cp "$goldens/logits/inputs/b.png" "$here/pics/200.png"
cp "$goldens/retrieve/inputs/i0.png" "$here/pics/300.png"
cp "$goldens/retrieve/inputs/i1.png" "$here/pics/400.png"
cp "$goldens/logits/inputs/a.png" "$here/pics/VisualDialog_val2018_000000000001.jpg"
cp "$goldens/logits/inputs/b.png" "$here/pics/000000000022.png"
cp "$demo/scenes/"*.png "$here/pics"

# every task, and its numbers once more
expect "stories" 0 '^vist of FROMAGe: 2 stories .*, 2 left out' $(fromage vist "$data/vist.json" -o "$here/vist.jsonl")
expect "answers ranked" 0 '^  ndcg  *0\.[0-9]+' $(fromage visdial "$data/visdial.json" --relevance "$data/relevance.json" -o "$here/visdial.jsonl")
expect "the same as JSON" 0 '"ndcg_rounds": 2' $(fromage visdial "$data/visdial.json" --relevance "$data/relevance.json" -o "$here/visdial.jsonl" --json -q)
cp "$here/out" "$here/visdial.json"
expect "pictures from dialogues" 0 'picture_from_text.queries  *2' $(fromage visdial-pictures "$data/visdial.json")
expect "recall" 0 '"queries": 5' $(fromage recall "$data/pairs.tsv" -o "$here/recall.jsonl" --json)
cp "$here/out" "$here/recall.json"
expect "captions" 0 '"items": 3,' eval "$demo" captions "$data/captions.json" --images "$here/pics" -o "$here/captions.jsonl" --json -q
cp "$here/out" "$here/captions.json"
expect "captions by FROMAGe's own way" 0 '^captions of FROMAGe: 3 pictures' $(fromage captions "$data/captions.json")
expect "questions" 0 'exact  *1\.0000' eval "$demo" answers "$demo/questions.jsonl" --limit 4
python3 - "$here" "$data" <<'PY' || failed=1
import array, base64, json, math, re, sys
here, data = sys.argv[1:]
def lines(name): return {i["item"]: i for i in map(json.loads, list(open(f"{here}/{name}.jsonl"))[1:])}
def near(name, found, expected):
    if not abs(found - expected) < 1e-6: sys.exit(f"not ok {name}: found {found}, expected {expected}")
# VisDial: ranks and NDCG from the losses
report, items = json.load(open(f"{here}/visdial.json"))["metrics"], lines("visdial")
dialogues = json.load(open(f"{data}/visdial.json"))["data"]["dialogs"]
relevance = {(r["image_id"], r["round_id"]): r["gt_relevance"] for r in json.load(open(f"{data}/relevance.json"))}
ranks, gains = [], []
for d in dialogues:
    for n, r in enumerate(d["dialog"], 1):
        item = items[f"dialogue {d['image_id']} round {n}"]
        if "missing" in item: continue
        order = sorted(range(len(item["losses"])), key=lambda i: item["losses"][i])
        ranks.append(order.index(r["gt_index"]) + 1)
        gain = relevance.get((d["image_id"], n))
        if gain:
            k = sum(g != 0 for g in gain)
            dcg = lambda o: sum(gain[i] / math.log2(p + 2) for p, i in enumerate(o[:k]))
            gains.append(dcg(order) / dcg(sorted(range(len(gain)), key=lambda i: -gain[i])))
near("visdial mrr", report["mrr"], sum(1 / r for r in ranks) / len(ranks))
near("visdial recall@1", report["recall@1"], sum(r == 1 for r in ranks) / len(ranks))
near("visdial mean rank", report["mean_rank"], sum(ranks) / len(ranks))
near("visdial ndcg", report["ndcg"], sum(gains) / len(gains))
# recall: ranks from the vectors
report, items = json.load(open(f"{here}/recall.json"))["metrics"], lines("recall")
vector = lambda name: array.array("f", base64.b64decode(items[name]["vector"]))
pairs = [line.rstrip("\n").split("\t") for line in open(f"{data}/pairs.tsv")]
pictures = list(dict.fromkeys(p for p, _ in pairs))
dot = lambda a, b: sum(x * y for x, y in zip(a, b))
texts = [vector(f"caption {i}") for i in range(1, len(pairs) + 1)]
shown = {p: vector(f"picture {p}") for p in pictures}
ranks = []
for (own, _), t in zip(pairs, texts):
    order = sorted(pictures, key=lambda p: -dot(t, shown[p]))
    ranks.append(order.index(own) + 1)
near("recall@1", report["picture_from_text"]["recall@1"], sum(r == 1 for r in ranks) / len(ranks))
near("recall mrr", report["picture_from_text"]["mrr"], sum(1 / r for r in ranks) / len(ranks))
ranks = []
for p in pictures:
    order = sorted(range(len(texts)), key=lambda i: -dot(shown[p], texts[i]))
    ranks.append(min(order.index(i) for i in range(len(texts)) if pairs[i][0] == p) + 1)
near("recall mrr back", report["text_from_picture"]["mrr"], sum(1 / r for r in ranks) / len(ranks))
# captions: BLEU-1 and ROUGE-L of what was said
report, items = json.load(open(f"{here}/captions.json"))["metrics"], lines("captions")
def tokens(text): return re.sub(r"[.,:]", " ", text.lower().replace("n't", " n't")).split()
said = {i: tokens(items[f"picture {i}"]["caption"]) for i in (1, 2, 3)}
true = {i: [] for i in said}
for a in json.load(open(f"{data}/captions.json"))["annotations"]:
    if a["image_id"] in true: true[a["image_id"]].append(tokens(a["caption"]))
right = sum(min(c.count(w), max(r.count(w) for r in true[i])) for i, c in said.items() for w in set(c))
total = sum(map(len, said.values()))
wanted = sum(min((abs(len(r) - len(c)), len(r)) for r in true[i])[1] for i, c in said.items())
near("bleu1", report["bleu1"], right / total * min(1, math.exp(1 - wanted / total)))
def lcs(a, b):
    row = [0] * (len(b) + 1)
    for x in a:
        old = row[:]
        for j, y in enumerate(b): row[j + 1] = old[j] + 1 if x == y else max(row[j], old[j + 1])
    return row[-1]
def rouge(i):
    p = max(lcs(said[i], r) / len(said[i]) for r in true[i]); q = max(lcs(said[i], r) / len(r) for r in true[i])
    return 2.44 * p * q / (q + 1.44 * p) if p and q else 0
near("rouge_l", report["rouge_l"], sum(map(rouge, said)) / 3)
print("ok the numbers, computed again")
PY

# classes: the sums of the logits of one prompt for each class, whatever is scored together; right and wrong labels
mkdir "$here/class"
i=0
for picture in "$goldens"/retrieve/inputs/*.png "$goldens"/logits/inputs/*.png; do
  [ $i -lt 4 ] && cp "$picture" "$here/class/$i.png"
  i=$((i + 1))
done
python3 - "$program" "$goldens/logits/model" "$here" <<'PY' || failed=1
import functools, json, math, os, struct, subprocess, sys
program, model, here = map(os.path.abspath, sys.argv[1:])
prompt, classes, pictures = "Output: ", ["a", "cat", "cat food", "dog"], [f"{i}.png" for i in range(4)]
def run(*arguments): return subprocess.run([program, *arguments], capture_output=True, text=True, check=True).stdout
@functools.cache
def ids(text): return [int(line.split("\t")[0]) for line in run("tokenize", f"{model}/opt", text).splitlines()]
def logits(text, picture):
    case = {"system": "fromage", "task": "logits", "model": {"dir": model, "llm": f"{model}/opt", "vision": f"{model}/clip"},
            "prompt": [{"type": "image", "path": f"class/{picture}"}, {"type": "text", "text": text}], "options": {"squash_224": True}}
    json.dump(case, open(f"{here}/request.json", "w"))
    run("trace", here, "-o", f"{here}/trace")
    data = open(f"{here}/trace/actual.safetensors", "rb").read()
    size = struct.unpack("<Q", data[:8])[0]
    entry = json.loads(data[8:8 + size])["lm.logits"]
    begin, end = entry["data_offsets"]
    values, width = struct.unpack(f"<{(end - begin) // 4}f", data[8 + size + begin:8 + size + end]), entry["shape"][-1]
    return [values[i:i + width] for i in range(0, len(values), width)]
texts = [ids(prompt + c) for c in classes]
shared = min(next(i for i in range(99) if i == len(t) or ids(prompt)[i:i + 1] != t[i:i + 1]) for t in texts)
def loss(text, number, picture):
    rows, total = logits(text, picture), 0
    for i in range(shared, len(texts[number])):
        row = rows[len(rows) - len(texts[number]) + i - 1]
        top = max(row)
        total += top + math.log(sum(math.exp(x - top) for x in row)) - row[texts[number][i]]
    return total
wanted = [[loss(prompt + c, k, p) for k, c in enumerate(classes)] for p in pictures]
best = [row.index(min(row)) for row in wanted]
def evaluate(name, labels, *more):
    json.dump({"prompt": f"<image>{prompt}", "classes": classes, "images": [{"image": p, "label": l} for p, l in zip(pictures, labels)]}, open(f"{here}/{name}.json", "w"))
    report = json.loads(run("eval", model, "classify", f"{here}/{name}.json", "--llm", f"{model}/opt", "--vision", f"{model}/clip", "--images", f"{here}/class", "--json", "-o", f"{here}/{name}.jsonl", *more))
    assert report["items"] == 4, report
    return report["metrics"]["accuracy"], [json.loads(line) for line in list(open(f"{here}/{name}.jsonl"))[1:]]
for batch in "1", "3":
    accuracy, items = evaluate(f"batch{batch}", [classes[b] for b in best], "--batch", batch)
    if accuracy != 1: sys.exit(f"not ok classes, {batch} together: accuracy {accuracy}, expected 1")
    for item, row in zip(items, wanted):
        if max(abs(a - b) for a, b in zip(item["losses"], row)) > 1e-4: sys.exit(f"not ok classes, {batch} together: found {item['losses']}, expected {row}")
accuracy, _ = evaluate("moved", [(b + 1) % 4 for b in best])
if accuracy != 0: sys.exit(f"not ok labels moved by one: accuracy {accuracy}, expected 0")
print("ok classes are ranked by the sums over their tokens")
PY

# a run that was cut anywhere goes on, and gives the same
for at in 1 40 700 3000 9000; do
  head -c "$at" "$here/recall.jsonl" >"$here/cut.jsonl"
  expect "cut after $at bytes" 0 '"queries": 5' $(fromage recall "$data/pairs.tsv" -o "$here/cut.jsonl" --json)
  cmp -s "$here/cut.jsonl" "$here/recall.jsonl" || { echo "not ok cut after $at bytes: another file"; failed=1; }
done
"$program" eval "$demo" captions "$data/captions.json" --images "$here/pics" -o "$here/killed.jsonl" -q >/dev/null 2>&1 &
process=$!
sleep 0.7
kill -9 $process 2>/dev/null
wait $process 2>/dev/null
expect "killed" 0 '"items": 3,' eval "$demo" captions "$data/captions.json" --images "$here/pics" -o "$here/killed.jsonl" --json -q
cmp -s "$here/killed.jsonl" "$here/captions.jsonl" || { echo "not ok killed: another file"; failed=1; }

# another run's results are refused and stay as they are
before=$(cksum <"$here/recall.jsonl")
expect "another task" 1 'sensorium: error: .*was begun with a different task: found "recall", this run has "captions"' $(fromage captions "$data/pairs.tsv" -o "$here/recall.jsonl")
expect "other data" 1 'sensorium: error: .*was begun with a different data' $(fromage recall "$data/captions.json" -o "$here/recall.jsonl")
expect "other options" 1 'sensorium: error: .*was begun with a different options' $(fromage recall "$data/pairs.tsv" --square 16 -o "$here/recall.jsonl")
expect "another model" 1 'sensorium: error: .*was begun with a different model' eval "$2/components/clip_vit/hf-clip/model" recall "$data/pairs.tsv" --images "$here/pics" -o "$here/recall.jsonl"
[ "$before" = "$(cksum <"$here/recall.jsonl")" ] || { echo "not ok a refused run changes nothing"; failed=1; }
echo "my diary" >"$here/diary.txt"
expect "a file of something else" 1 'sensorium: error: .*diary' $(fromage recall "$data/pairs.tsv" -o "$here/diary.txt")
[ "$(cat "$here/diary.txt")" = "my diary" ] || { echo "not ok a file of something else is kept"; failed=1; }

# what is wrong with the data
expect "no such task" 2 'there is no task sums; expected one of answers, captions' $(fromage sums "$data/vist.json")
expect "an option of another task" 2 'split does nothing in the task vist' $(fromage vist "$data/vist.json" --split val)
expect "an option of tasks that speak" 2 'beams does nothing in the task recall' $(fromage recall "$data/pairs.tsv" --beams 2)
expect "no such file" 1 'nowhere.json: No such file' $(fromage vist "$data/nowhere.json")
expect "another layout" 1 "expected VIST's stories" $(fromage vist "$data/visdial.json")
expect "another layout of captions" 1 "expected COCO's captions" $(fromage recall "$data/visdial.json")
expect "missing pictures may end the run" 1 'sensorium: error: no picture nowhere.png' $(fromage captions "$data/captions.json" --missing stop)
echo '{"images":[{"id":1,"file_name":"000.png"}],"annotations":[{"id":1,"caption":"a"}]}' >"$here/a.json"
expect "a caption without a picture" 1 'annotations\[0\]: a caption without image_id' $(fromage captions "$here/a.json")
echo '{"images":[{"id":1,"file_name":"000.png"}],"annotations":[{"id":1,"image_id":2,"caption":"a"}]}' >"$here/a.json"
expect "of a picture that is not there" 1 'image_id 2 is none of the images' $(fromage captions "$here/a.json")
echo '{"images":[{"id":1,"file_name":"000.png"},{"id":1,"file_name":"001.png"}],"annotations":[]}' >"$here/a.json"
expect "an id twice" 1 'images\[1\]: the id 1 is there twice' $(fromage captions "$here/a.json")
echo '{"images":[],"annotations":[]}' >"$here/a.json"
expect "no captions" 1 'holds no captions' $(fromage captions "$here/a.json")
expect "no stories" 1 'holds no stories' $(fromage vist "$here/a.json")
: >"$here/a.jsonl"
expect "no questions" 1 'holds no questions' $(fromage answers "$here/a.jsonl")
expect "a system that gives no vectors says so" 1 'LLaVA: these files give no vectors' eval "$demo" vist "$data/vist.json" --images "$here/pics"
expect "one that does not speak, too" 1 'CLIP.* has no language model, which captions needs' eval "$2/components/clip_vit/hf-clip/model" captions "$data/captions.json" --images "$here/pics"
mkdir "$here/none"
expect "no picture at all" 1 'none of the pictures could be evaluated; the first reason' eval "$demo" captions "$data/captions.json" --images "$here/none" -q
exit $failed
