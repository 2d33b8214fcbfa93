#!/usr/bin/python3
"""Recall of a picture from its caption, in a gallery of 500 scenes that nothing has seen, no two of which hold the same things.

    evaluate.py FOLDER SENSORIUM MODEL...     models of several seeds, in FOLDER

For each model: recall at 1 and 5 of the whole caption (`sensorium eval MODEL recall`); the same with a bag of names, which adds up
what each name finds by itself and so knows neither places nor colours nor the order of words; and chance. Writes recall.json and a table,
recall.md."""
import argparse
import json
import os
import subprocess
import sys


def run(*command):
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def search(sensorium, gallery, query, top):
    """Cosines of the pictures by name."""
    return {os.path.basename(hit["path"]): hit["score"] for hit in run(sensorium, "search", gallery, query, "-k", str(top), "--all", "--json")["results"]}


def measure(sensorium, model, items):
    whole = run(sensorium, "eval", model, "recall", "scenes/gallery.jsonl", "--images", "scenes", "--square", "0", "--json")["metrics"]["picture_from_text"]
    gallery = f"{model}/gallery.db"
    subprocess.run([sensorium, "index", model, "scenes/gallery", "-o", gallery, "--quiet"], check=True, stdout=subprocess.DEVNULL)
    alone = {}
    for name in sorted({name for item in items for name in item["names"]}):
        alone[name] = search(sensorium, gallery, f"{'an' if name[0] in 'aeiou' else 'a'} {name}[RET]", len(items))
    ranks = []
    for item in items:
        score = {path: sum(alone[name][path] for name in item["names"]) for path in alone[item["names"][0]]}
        own = score[os.path.basename(item["image"])]
        ranks.append(sum(other > own for other in score.values()))
    bag = {k: sum(rank < k for rank in ranks) / len(ranks) for k in (1, 5)}
    return {"model": model, "recall@1": whole["recall@1"], "recall@5": whole["recall@5"], "bag recall@1": bag[1], "bag recall@5": bag[5]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("sensorium")
    parser.add_argument("models", nargs="+")
    options = parser.parse_args()
    os.chdir(options.folder)
    items = [json.loads(line) for line in open("scenes/gallery.jsonl", encoding="utf-8")]
    results = []
    for model in options.models:
        results.append(measure(options.sensorium, model, items))
        print(json.dumps(results[-1]), file=sys.stderr)
    with open("recall.json", "w", encoding="utf-8") as out:
        json.dump(results, out, indent=1)
    rows = [("whole caption", "recall@1", "recall@5"), ("bag of names", "bag recall@1", "bag recall@5")]
    table = ["| query | " + " | ".join(f"{m}: R@1 / R@5" for m in options.models) + " |", "|---" * (len(results) + 1) + "|"]
    for title, one, five in rows:
        table.append(f"| {title} | " + " | ".join(f"{100 * r[one]:.1f} % / {100 * r[five]:.1f} %" for r in results) + " |")
    table.append("| chance | " + " | ".join(f"{100 / len(items):.1f} % / {500 / len(items):.1f} %" for _ in results) + " |")
    with open("recall.md", "w", encoding="utf-8") as out:
        out.write("\n".join(table) + "\n")
    print("\n".join(table))


if __name__ == "__main__":
    main()
