#!/usr/bin/env python3
"""Training in several processes beside one with as many threads: LLaVA's stage 2 of models/demo, in turns, on this machine.

    bench/ranks.py [PROGRAM]                       one process of two threads, two of one: the table of docs/scaling.md
    bench/ranks.py [PROGRAM] --ways 1x4 2x2 4x1    processes x threads
    bench/ranks.py [PROGRAM] --batch 8             shorter steps: less to hide the sums under

Needs mpirun and nothing of PyPI. The data are the demo's own scenes, each with its questions, as many samples a step as --batch
says, whatever the number of processes. Seconds are medians of the steps behind the first ones, and of the rounds; those of summing
gradients, and what of them lay under the backward pass, are what metrics.jsonl says of the first process. Memory is the
peak of a process, the largest of all.
"""
import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
DEMO = os.path.join(ROOT, "models", "demo")
WARM = 2  # steps that are not counted
QUIET = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", OMPI_MCA_rmaps_base_oversubscribe="1")


def write_recipe(arguments, folder):
    """A conversation of three questions for each scene in turn; JSON, which is YAML too."""
    asked = {}
    with open(os.path.join(DEMO, "questions.jsonl")) as file:
        for line in map(json.loads, file):
            asked.setdefault(line["scene"], []).append(line)
    samples = []
    for i in range(arguments.batch):
        image = sorted(asked)[i % len(asked)]
        turns = [asked[image][(i + k) % len(asked[image])] for k in range(3)]
        conversation = [{"from": role, "value": text} for k, turn in enumerate(turns)
                        for role, text in (("human", ("" if k else "<image>\n") + turn["question"]), ("gpt", turn["answer"]))]
        samples.append({"id": str(i), "image": os.path.basename(image), "conversations": conversation})
    with open(os.path.join(folder, "data.json"), "w") as file:
        json.dump(samples, file)
    recipe = {"model": {"path": DEMO}, "stage": "stage2", "template": "hf", "data": [{"path": os.path.join(folder, "data.json"), "images": os.path.join(DEMO, "scenes")}],
              "optimizer": {"lr": 1e-4, "max_grad_norm": 1}, "schedule": {"name": "constant"}, "batch": {"size": arguments.batch}, "steps": WARM + arguments.steps, "seed": 1,
              "save": {"folder": os.path.join(folder, "run")}}
    path = os.path.join(folder, "recipe.json")
    with open(path, "w") as file:
        json.dump(recipe, file)
    return path


def measured(arguments, folder, recipe, way):
    """One run: seconds of a step, those of summing, those hidden, the peak of the largest process."""
    processes, threads = map(int, way.split("x"))
    shutil.rmtree(os.path.join(folder, "run"), ignore_errors=True)
    # each process is the child of one that reads its peak
    command = [sys.executable, os.path.abspath(__file__), arguments.program, "--child", folder, recipe, str(threads)]
    if processes > 1:
        command = ["mpirun", "-n", str(processes), "--bind-to", "none"] + command
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=QUIET)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: ended with {done.returncode}\n{done.stderr}")
    with open(os.path.join(folder, "run", "metrics.jsonl")) as file:
        steps = [json.loads(line) for line in file][WARM:]
    summing = [s.get("summing", {"seconds": 0, "hidden": 0}) for s in steps]
    peaks = [os.path.join(folder, name) for name in os.listdir(folder) if name.startswith("peak-")]
    peak = max(int(open(path).read()) for path in peaks)
    for path in peaks:
        os.remove(path)
    return {"seconds": statistics.median(s["seconds"] for s in steps), "summing": statistics.median(s["seconds"] for s in summing),
            "hidden": statistics.median(s["hidden"] for s in summing), "peak": peak, "loss": steps[-1]["loss"]}


def child(program, folder, recipe, threads):
    status = subprocess.run([program, "train", recipe, "--threads", threads, "--json"]).returncode
    with open(os.path.join(folder, f"peak-{os.getpid()}"), "w") as file:
        file.write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024))
    sys.exit(status)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", nargs="?")
    parser.add_argument("--program", dest="given", default=os.path.join(ROOT, "build", "sensorium"), help=argparse.SUPPRESS)  # as script/bench says it
    parser.add_argument("--ways", nargs="+", default=["1x2", "2x1"], metavar="PROCESSESxTHREADS")
    parser.add_argument("--batch", type=int, default=48, help="samples a step, of all processes together")
    parser.add_argument("--steps", type=int, default=8, help="steps that are measured, behind two that are not")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", help="all numbers as JSON")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.program = arguments.program or arguments.given
    if arguments.child:
        return child(arguments.program, *arguments.child)
    folder = tempfile.mkdtemp(prefix="sensorium-bench-")
    try:
        recipe, runs = write_recipe(arguments, folder), {way: [] for way in arguments.ways}
        for number in range(arguments.rounds):
            for way in arguments.ways:
                runs[way].append(measured(arguments, folder, recipe, way))
            print(f"  round {number + 1} of {arguments.rounds}", file=sys.stderr, flush=True)
    finally:
        shutil.rmtree(folder)
    result = {way: {key: statistics.median(run[key] for run in rounds) for key in rounds[0]} for way, rounds in runs.items()}
    first = result[arguments.ways[0]]
    print("| processes x threads | samples/s | against the first | summing gradients, ms a step | of that hidden | peak of a process, MB |\n|---|---|---|---|---|---|")
    for way, r in result.items():
        summed = f"{1e3 * r['summing']:.1f} | {100 * r['hidden'] / r['summing']:.0f} %" if r["summing"] else "none | "
        print(f"| {way.replace('x', ' x ')} | {arguments.batch / r['seconds']:.3g} | {first['seconds'] / r['seconds']:.2f} | {summed} | {r['peak'] / 1e6:.0f} |")
    apart = max(abs(r["loss"] - first["loss"]) for r in result.values())
    print(f"\nLosses of the last step are at most {apart:.1g} apart.")
    if arguments.output:
        with open(arguments.output, "w") as file:
            json.dump(runs, file, indent=1)


if __name__ == "__main__":
    main()
