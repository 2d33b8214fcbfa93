#!/usr/bin/env python3
"""Training steps beside PyTorch: the same model, the same number of positions and learnt tokens, the same threads, in turns.

    script/bench --train                          both cases, f32 and bf16
    script/bench --train --cases demo --types f32
    script/bench --train --recompute              ours with blocks computed again in the backward pass: less memory

demo   models/demo, LLaVA's stage 2 (the tower is frozen), 48 samples a step; PyTorch compiled (torch.compile).
slice  a LLaMA-7B of 4 layers with random weights, frozen, behind models/demo's tower and a fresh connector that
       learns (LLaVA's stage 1), 2 samples a step; PyTorch eager.

Each sample has one picture and 170 positions. In bf16, weights that learn stay f32 and products are bf16 (torch.autocast);
frozen weights are stored in bf16. Both sides do the whole step: forward, backward, clipping, AdamW. Seconds are the median
of the steps behind the first ones; memory is the peak of the process beyond the weights (of PyTorch, of those steps alone,
beyond what it holds before the model is there). The ratio is speed over speed: above 1, Sensorium is faster.
"""
import argparse
import importlib.util
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.realpath(__file__))
ROOT = os.path.dirname(HERE)
sys.path = [path for path in sys.path if os.path.realpath(path or ".") != HERE]
specification = importlib.util.spec_from_file_location("peer", os.path.join(HERE, "peer.py"))
peer = importlib.util.module_from_spec(specification)
specification.loader.exec_module(peer)

DEMO = os.path.join(ROOT, "models", "demo")
CASES = {"demo": {"batch": 48, "stage": "stage2", "compile": True}, "slice": {"batch": 2, "stage": "stage1", "compile": False}}
POSITIONS, PATCHES = 170, 64
WARM = 2  # steps that are not counted


# ---- data and recipe ----

def token_count(program, model, text):
    found = subprocess.run([program, "tokenize", model, text, "--json", "--no-special"], check=True, stdout=subprocess.PIPE)
    return len(json.loads(found.stdout)["ids"])


def write_data(arguments, model, folder, batch):
    """Conversations with one answer, as long as leaves about POSITIONS with the picture."""
    words = "I see an owl at the top left and a penguin at the bottom right of the red picture. "
    question = "<image>\nDescribe the picture."
    each = token_count(arguments.program, model, words)
    answer = (words * max(1, round((POSITIONS - PATCHES - 20) / each))).strip()
    pictures = sorted(os.listdir(os.path.join(DEMO, "scenes")))
    samples = [{"id": str(i), "image": pictures[i % len(pictures)],
                "conversations": [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]} for i in range(batch)]
    path = os.path.join(folder, "data.json")
    with open(path, "w") as file:
        json.dump(samples, file)
    return path


def write_recipe(arguments, case, kind, folder):
    """A stage as JSON, which is YAML too. The slice is put together first, so that the steps alone are measured."""
    model = DEMO
    batch = CASES[case]["batch"]
    recipe = {"model": {"path": model}, "stage": CASES[case]["stage"], "template": "hf", "compute": "f32" if kind == "f32" else "bf16", "recompute": arguments.recompute,
              "data": [{"path": write_data(arguments, DEMO, folder, batch), "images": os.path.join(DEMO, "scenes")}],
              "optimizer": {"lr": 1e-4, "max_grad_norm": 1}, "schedule": {"name": "constant"}, "batch": {"size": batch},
              "steps": WARM + arguments.steps, "seed": 1, "save": {"folder": os.path.join(folder, "run")}}
    if case == "slice":
        llm, parts = os.path.join(folder, "llm"), os.path.join(folder, "parts.json")
        model = os.path.join(folder, "composed", "model")
        subprocess.run([sys.executable, os.path.join(HERE, "peer.py"), "--make", "llama-7b-4layers", "--types", kind, "--folder", llm], check=True, env=peer.QUIET)
        with open(parts, "w") as file:
            json.dump(recipe | {"model": {"vision": DEMO, "llm": llm, "tokenizer": DEMO, "fresh": {"connector": True}}, "steps": 1,
                                "save": {"folder": os.path.join(folder, "composed")}}, file)
        subprocess.run([arguments.program, "train", parts, "--json"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        shutil.rmtree(llm)
        recipe["model"] = {"path": model}
    path = os.path.join(folder, "recipe.json")
    with open(path, "w") as file:
        json.dump(recipe, file)
    return path, model


# ---- one side each, in a process of its own ----

def summary(seconds, losses, tokens, learnt, peak, beyond):
    return {"seconds": statistics.median(seconds[WARM:]), "losses": losses, "tokens": tokens, "learnt": learnt, "peak": peak, "beyond": beyond}


def weights_of(folder):
    return sum(os.path.getsize(os.path.join(folder, name)) for name in os.listdir(folder) if name.endswith(".safetensors"))


def ours(arguments, folder, recipe, model):
    shutil.rmtree(os.path.join(folder, "run"), ignore_errors=True)
    command = [arguments.program, "train", recipe, "--threads", str(arguments.threads), "--json"]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    message = child.stderr.read().decode()
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        sys.exit(message)
    with open(os.path.join(folder, "run", "metrics.jsonl")) as file:
        steps = [json.loads(line) for line in file]
    peak = usage.ru_maxrss * 1024
    return summary([s["seconds"] for s in steps], [s["loss"] for s in steps], steps[-1]["tokens"], steps[-1]["learnt"], peak,
                   peak - weights_of(model))


def child(arguments):
    import torch
    import transformers
    case, kind, batch = arguments.child, arguments.types[0], CASES[arguments.child]["batch"]
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(1)
    before = peer.memory("VmRSS")
    stage1 = CASES[case]["stage"] == "stage1"
    model = transformers.LlavaForConditionalGeneration.from_pretrained(arguments.folder, dtype=torch.float32 if not stage1 else getattr(torch, peer.TYPES[kind]))
    learning = []
    for name, parameter in model.named_parameters():
        parameter.requires_grad = "projector" in name if stage1 else "vision_tower" not in name
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
            learning.append(parameter)
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    model.train()
    optimizer = torch.optim.AdamW(learning, lr=1e-4, weight_decay=0, fused=True)
    per_sample, learnt = arguments.tokens // batch, arguments.learnt // batch
    config = model.config
    ids = torch.randint(3, config.text_config.vocab_size - 2, (batch, per_sample))
    ids[ids == config.image_token_id] = 3
    ids[:, 1:1 + PATCHES] = config.image_token_id
    labels = torch.full_like(ids, -100)
    labels[:, per_sample - learnt:] = ids[:, per_sample - learnt:]
    pixels = torch.randn(batch, 3, config.vision_config.image_size, config.vision_config.image_size)
    run = torch.compile(model) if CASES[case]["compile"] else model
    seconds, losses = [], []
    for step in range(WARM + arguments.steps):
        if step == WARM:  # what compiling took is not counted
            peer.forget_peak()
        begin = time.monotonic()
        with torch.autocast("cpu", torch.bfloat16, enabled=kind == "bf16"):
            loss = run(input_ids=ids, pixel_values=pixels, labels=labels, attention_mask=torch.ones_like(ids)).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learning, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        seconds.append(time.monotonic() - begin)
    peak = peer.memory("VmHWM")
    json.dump(summary(seconds, losses, arguments.tokens, arguments.learnt, peak, peak - before - weights), sys.stdout)


def peers(arguments, case, kind, model, tokens, learnt):
    command = [sys.executable, os.path.abspath(__file__), "--child", case, "--types", kind, "--folder", model, "--threads", str(arguments.threads),
               "--steps", str(arguments.steps), "--tokens", str(tokens), "--learnt", str(learnt)]
    environment = dict(peer.QUIET, OMP_NUM_THREADS=str(arguments.threads), MKL_NUM_THREADS=str(arguments.threads))
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment).stdout)


def run_case(arguments, case, kind):
    folder = tempfile.mkdtemp(prefix="sensorium-bench-")
    try:
        recipe, model = write_recipe(arguments, case, kind, folder)
        rounds = []
        for number in range(arguments.rounds):
            mine = ours(arguments, folder, recipe, model)
            rounds.append((mine, peers(arguments, case, kind, model, mine["tokens"], mine["learnt"])))
            print(f"  {case} {kind}: round {number + 1} of {arguments.rounds}", file=sys.stderr, flush=True)
    finally:
        shutil.rmtree(folder)
    pick = lambda side, key: [r[side][key] for r in rounds]
    batch = CASES[case]["batch"]
    seconds = [statistics.median(pick(side, "seconds")) for side in (0, 1)]
    return {"case": case, "type": kind, "batch": batch, "positions": rounds[0][0]["tokens"] / batch, "learnt": rounds[0][0]["learnt"],
            "ours": batch / seconds[0], "peer": batch / seconds[1], "ratio": seconds[1] / seconds[0],
            "ours_beyond": max(pick(0, "beyond")), "peer_beyond": max(pick(1, "beyond")), "rounds": rounds}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default=os.path.join(ROOT, "build", "sensorium"))
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--types", nargs="+", choices=["f32", "bf16"], default=["f32", "bf16"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=6, help="steps that are measured, behind two that are not")
    parser.add_argument("--recompute", action="store_true")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--output", help="all numbers as JSON")
    for hidden, kind in (("--child", str), ("--folder", str), ("--tokens", int), ("--learnt", int)):
        parser.add_argument(hidden, type=kind, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        return child(arguments)
    results = [run_case(arguments, case, kind) for case in arguments.cases for kind in arguments.types]
    print("| case | type | positions a sample | Sensorium, samples/s | PyTorch | ratio | beyond the weights, MB | PyTorch | ratio |\n|---|---|---|---|---|---|---|---|---|")
    for r in results:
        print(f"| {r['case']} | {r['type']} | {r['positions']:.0f} | {r['ours']:.3g} | {r['peer']:.3g} | {r['ratio']:.2f} | {r['ours_beyond'] / 1e6:.0f} | {r['peer_beyond'] / 1e6:.0f} | "
              f"{r['ours_beyond'] / r['peer_beyond']:.2f} |")
    if arguments.output:
        with open(arguments.output, "w") as file:
            json.dump(results, file, indent=1)


if __name__ == "__main__":
    main()
