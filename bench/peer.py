#!/usr/bin/env python3
"""Sensorium beside PyTorch: the same weights, the same inputs, the same threads, in turns.

    script/bench                         all cases, all types
    script/bench --types f32 --rounds 3  some of them
    script/bench --cases opt-1.3b --types f32 bf16   FROMAGe's language model, OPT in another size: prompts of 512
    script/bench --cases opt-1.3b-4layers --threads 1  a sixth of it; one thread, for a machine that others use

Each case is a model of a published size with random weights, written once in Hugging Face's layout. In every round
both programs open it in a process of their own, do one cold run and then the measured ones; the rounds alternate, so
that a disturbance of the machine hits both; where other programs compute at the same time, the seconds of the processor
that each took (all its threads) say more than the clock's. PyTorch runs as transformers runs it: eager, scaled-dot-product attention,
inference mode. What both computed is compared. The table's ratio is speed over speed: above 1, Sensorium is faster.
"""
import argparse
import json
import os
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time

# The other programs of this folder are named like the packages that they measure.
sys.path = [path for path in sys.path if os.path.realpath(path or ".") != os.path.dirname(os.path.realpath(__file__))]

CASES = {
    "clip-vit-l-336": {"kind": "vision"},
    "llama-7b-4layers": {"kind": "language", "preset": True},  # bench --random knows it, too
    "opt-1.3b": {"kind": "language", "family": "opt", "prompt": 512},
    "opt-1.3b-4layers": {"kind": "language", "family": "opt", "prompt": 512},
    # for trying out the program
    "clip-tiny": {"kind": "vision"},
    "llama-tiny": {"kind": "language"},
    "opt-tiny": {"kind": "language", "family": "opt"},
}
TYPES = {"f32": "float32", "bf16": "bfloat16", "f16": "float16"}
ALONE = ("q8_0",)
QUIET = dict(os.environ, PYTHONWARNINGS="ignore", TRANSFORMERS_VERBOSITY="error", HF_HUB_DISABLE_PROGRESS_BARS="1")
CLOCKS = ("seconds", "processor_seconds")
MEASURES = {"vision": ["vision"], "language": ["prefill", "decode"]}


# ---- what is measured: made with transformers, read by both ----

def configuration(case):
    import transformers
    llama = dict(vocab_size=32000, max_position_embeddings=4096, rms_norm_eps=1e-5, tie_word_embeddings=False)
    opt = dict(vocab_size=50272, max_position_embeddings=2048, activation_function="relu", do_layer_norm_before=True)
    clip = dict(image_size=336, patch_size=14, hidden_act="quick_gelu", projection_dim=768)
    return {
        "clip-vit-l-336": lambda: transformers.CLIPVisionConfig(
            hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16, **clip),
        "clip-tiny": lambda: transformers.CLIPVisionConfig(
            hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, **clip),
        "llama-7b-4layers": lambda: transformers.LlamaConfig(
            hidden_size=4096, intermediate_size=11008, num_hidden_layers=4, num_attention_heads=32, **llama),
        "llama-tiny": lambda: transformers.LlamaConfig(
            hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, **llama),
        "opt-1.3b": lambda: transformers.OPTConfig(
            hidden_size=2048, word_embed_proj_dim=2048, ffn_dim=8192, num_hidden_layers=24, num_attention_heads=32, **opt),
        "opt-1.3b-4layers": lambda: transformers.OPTConfig(
            hidden_size=2048, word_embed_proj_dim=2048, ffn_dim=8192, num_hidden_layers=4, num_attention_heads=32, **opt),
        "opt-tiny": lambda: transformers.OPTConfig(
            hidden_size=64, word_embed_proj_dim=64, ffn_dim=128, num_hidden_layers=2, num_attention_heads=4, **opt),
    }[case]()


def model_class(case):
    import transformers
    if CASES[case]["kind"] == "vision":
        return transformers.CLIPVisionModel
    return transformers.OPTForCausalLM if CASES[case].get("family") == "opt" else transformers.LlamaForCausalLM


def write_tokenizer(path, count):
    """A SentencePiece file of so many pieces: a LLaMA folder has one, though no text is read here."""
    def field(number, kind, payload):
        head = bytes([number << 3 | kind])
        return head + (bytes([len(payload)]) if kind == 2 else b"") + payload
    pieces = [("<unk>", 2), ("<s>", 3), ("</s>", 3)] + [(f"<0x{i:02X}>", 6) for i in range(256)]
    pieces += [(f"\u2581w{i}", 1) for i in range(count - len(pieces))]
    with open(path, "wb") as file:
        for rank, (text, kind) in enumerate(pieces):
            body = field(1, 2, text.encode()) + field(2, 5, struct.pack("<f", -float(rank))) + field(3, 0, bytes([kind]))
            file.write(field(1, 2, body))


def write_merges(folder, count):
    """The two files of a byte-level tokenizer that joins nothing, as an OPT folder has them."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    signs = [chr(byte) for byte in printable] + [chr(256 + i) for i in range(len(others))]
    pieces = ["<s>", "<pad>", "</s>", "<unk>", *signs]
    pieces += [f"madeupword{i}" for i in range(count - len(pieces))]
    with open(os.path.join(folder, "vocab.json"), "w", encoding="utf-8") as file:
        json.dump({piece: i for i, piece in enumerate(pieces)}, file)
    with open(os.path.join(folder, "merges.txt"), "w") as file:
        file.write("#version: 0.2\n")


def make_model(case, kind, folder):
    """Norms of one, everything else from a million random values again and again: seconds instead of minutes."""
    import torch
    torch.manual_seed(1)
    config = configuration(case)
    config.dtype = getattr(torch, TYPES[kind])
    with torch.device("meta"):
        model = model_class(case)(config).to(config.dtype)
    model = model.to_empty(device="cpu")
    model.tie_weights()
    values = torch.randn(1_000_003) * 0.02  # a prime number: no two rows are the same
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            flat = parameter.view(-1)
            if "norm" in name:
                flat.fill_(float(name.endswith("weight")))
                continue
            for begin in range(0, flat.numel(), values.numel()):
                part = flat[begin:begin + values.numel()]
                part.copy_(values[:part.numel()])
    model.save_pretrained(folder, max_shard_size="100GB")
    if CASES[case].get("family") == "opt":
        write_merges(folder, config.vocab_size)
    elif CASES[case]["kind"] == "language":
        write_tokenizer(os.path.join(folder, "tokenizer.model"), config.vocab_size)


# ---- PyTorch's side: one process ----

def forget_peak():
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def memory(name):
    with open("/proc/self/status") as file:
        for line in file:
            if line.startswith(name + ":"):
                return int(line.split()[1]) * 1024
    return 0


def clocks():
    return time.monotonic(), time.process_time()


def since(begin):
    """Seconds by the wall's clock, and those that all threads computed."""
    return {"seconds": time.monotonic() - begin[0], "processor_seconds": time.process_time() - begin[1]}


def run_vision(torch, model, config, arguments):
    size = config.image_size
    pixels = (torch.arange(3 * size * size) * 7919 % 2003 / 1001 - 1).float().reshape(1, 3, size, size).to(model.dtype)
    begin = clocks()
    output = model(pixels).pooler_output
    return {"vision": since(begin)}, output.float().flatten()


def run_language(torch, model, config, arguments):
    ids = torch.arange(arguments.prompt + arguments.tokens) * 31
    ids = ((ids + 7) % config.vocab_size)[None]
    begin = clocks()
    output = model(ids[:, :arguments.prompt], use_cache=True, logits_to_keep=1)
    prefill, begin = since(begin), clocks()
    for i in range(arguments.prompt, arguments.prompt + arguments.tokens):
        output = model(ids[:, i:i + 1], past_key_values=output.past_key_values, use_cache=True)
    return {"prefill": prefill, "decode": since(begin)}, output.logits[0, -1].float()


def child(arguments):
    import torch
    import transformers
    from safetensors.torch import save_file
    torch.set_num_threads(arguments.threads)
    case, kind = arguments.child, arguments.types[0]
    classes = model_class(case)
    before = {name: memory(name) for name in ("VmRSS", "RssAnon", "RssFile")}
    begin = time.monotonic()
    model = classes.from_pretrained(arguments.folder, dtype=getattr(torch, TYPES[kind])).eval()
    load = time.monotonic() - begin
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    forget_peak()  # the peak of running, not of loading
    run = run_vision if CASES[case]["kind"] == "vision" else run_language
    with torch.inference_mode():
        cold, output = run(torch, model, model.config, arguments)
        long = sum(times["seconds"] for times in cold.values()) > arguments.long
        runs = [cold] if long else [run(torch, model, model.config, arguments)[0] for _ in range(arguments.repeat)]
    peak = memory("VmHWM")
    # weights that are mapped count as file pages, and only those that were read; others are memory of the process
    mapped = memory("RssFile") - before["RssFile"] > weights / 2
    beyond = peak - memory("RssFile") - before["RssAnon"] - (0 if mapped else weights)
    if arguments.output:
        save_file({"output": output.contiguous()}, arguments.output)
    json.dump({"load": load, "cold": cold, "runs": runs, "weights": weights, "peak": peak, "before": before["VmRSS"],
               "beyond": beyond,
               "version": torch.__version__, "transformers": transformers.__version__,
               "capability": torch.backends.cpu.get_cpu_capability()}, sys.stdout)


# ---- both, in turns ----

def ours(arguments, case, folder, output):
    command = [arguments.program, "bench", folder, "--json", "--threads", str(arguments.threads), "--repeat", str(arguments.repeat), "-o", output]
    if CASES[case]["kind"] == "language":
        command += ["--prompt", str(arguments.prompt), "--tokens", str(arguments.tokens)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def peers(arguments, case, kind, folder, output):
    command = [sys.executable, os.path.abspath(__file__), "--child", case, "--folder", folder, "--types", kind, "--threads", str(arguments.threads),
               "--repeat", str(arguments.repeat), "--prompt", str(arguments.prompt), "--tokens", str(arguments.tokens), "--long", str(arguments.long), "--output", output]
    environment = dict(QUIET, OMP_NUM_THREADS=str(arguments.threads), MKL_NUM_THREADS=str(arguments.threads))
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment).stdout)


def ours_alone(arguments, case, kind):
    """A stored type that PyTorch does not have: random weights, and no peer."""
    command = [arguments.program, "bench", "--random", case, "-t", kind, "--json", "--threads", str(arguments.threads), "--repeat", str(arguments.repeat),
               "--prompt", str(arguments.prompt), "--tokens", str(arguments.tokens)]
    found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    print(f"  {case} {kind}: {found['prefill']['tokens_per_second']:.3g} tokens/s of the prompt, {found['decode']['tokens_per_second']:.3g} tokens/s decoding "
          f"({100 * found['decode']['share_of_limit']:.0f} % of the read limit), {found['memory']['beyond_weights_bytes'] / 1e6:.0f} MB beyond the weights", flush=True)
    return {"case": case, "type": kind, "ours": found}


def difference(one, other):
    """Largest difference of two outputs, as a share of their spread, and whether the largest value is the same one."""
    from safetensors.numpy import load_file
    a = next(iter(load_file(one).values())).astype("float64").ravel()
    b = next(iter(load_file(other).values())).astype("float64").ravel()
    return {"largest": float(abs(a - b).max() / b.std()), "same_argmax": bool(a.argmax() == b.argmax())}


def run_case(arguments, case, kind, folder):
    subprocess.run([sys.executable, os.path.abspath(__file__), "--make", case, "--types", kind, "--folder", folder], check=True, env=QUIET)
    files = [os.path.join(folder, name) for name in ("ours.out", "peer.out")]
    rounds, begin = [], time.monotonic()
    for number in range(arguments.rounds):
        taken = time.monotonic() - begin
        if number and taken + taken / number > arguments.budget:
            break
        rounds.append({"ours": ours(arguments, case, folder, files[0]), "peer": peers(arguments, case, kind, folder, files[1])})
        print(f"  {case} {kind}: round {number + 1} of {arguments.rounds}", file=sys.stderr, flush=True)
    rows = []
    for measure in MEASURES[CASES[case]["kind"]]:
        units = {"vision": 1, "prefill": arguments.prompt, "decode": arguments.tokens}[measure]
        mine, theirs = ({clock: statistics.median(seconds) for clock, seconds in side.items()} for side in (
            {clock: [r["ours"][measure][clock] for r in rounds] for clock in CLOCKS},
            {clock: [run[measure][clock] for r in rounds for run in r["peer"]["runs"]] for clock in CLOCKS}))
        rows.append({"case": case, "type": kind, "measure": measure, "ours": units / mine["seconds"], "peer": units / theirs["seconds"],
                     "ratio": theirs["seconds"] / mine["seconds"], "processor_ratio": theirs["processor_seconds"] / mine["processor_seconds"],
                     "processor_seconds": {"ours": mine["processor_seconds"] / units, "peer": theirs["processor_seconds"] / units},
                     "share": max(r["ours"][measure]["share_of_limit"] for r in rounds)})
    return {"case": case, "type": kind, "prompt": arguments.prompt, "rows": rows, "difference": difference(*files), "rounds": rounds,
            "load": {"ours": statistics.median(r["ours"]["load_seconds"] for r in rounds), "peer": statistics.median(r["peer"]["load"] for r in rounds)},
            "memory": {"ours_peak": max(r["ours"]["memory"]["peak_bytes"] for r in rounds), "peer_peak": max(r["peer"]["peak"] for r in rounds),
                       "ours_beyond": max(r["ours"]["memory"]["beyond_weights_bytes"] for r in rounds), "peer_beyond": max(r["peer"]["beyond"] for r in rounds)}}


def print_tables(results):
    print("| case | weights | measure | Sensorium | PyTorch | ratio | share of the limit | processor s each: Sensorium | PyTorch | ratio |\n|---|---|---|---|---|---|---|---|---|---|")
    units = {"vision": "pictures/s", "prefill": "tokens/s", "decode": "tokens/s"}
    for result in results:
        for row in result["rows"]:
            print(f"| {row['case']} | {row['type']} | {row['measure']}, {units[row['measure']]} | {row['ours']:.3g} | {row['peer']:.3g} | {row['ratio']:.2f} | {100 * row['share']:.0f} % | "
                  f"{row['processor_seconds']['ours']:.3g} | {row['processor_seconds']['peer']:.3g} | {row['processor_ratio']:.2f} |")
    print("\n| case | weights | peak MB | PyTorch | beyond weights MB | PyTorch | load s | PyTorch | largest difference / spread | same argmax |\n|---|---|---|---|---|---|---|---|---|---|")
    for result in results:
        m, d, load = result["memory"], result["difference"], result["load"]
        print(f"| {result['case']} | {result['type']} | {m['ours_peak'] / 1e6:.0f} | {m['peer_peak'] / 1e6:.0f} | {m['ours_beyond'] / 1e6:.0f} | {m['peer_beyond'] / 1e6:.0f} | "
              f"{load['ours']:.2f} | {load['peer']:.2f} | {d['largest']:.2g} | {'yes' if d['same_argmax'] else 'no'} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default=os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "build", "sensorium"))
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=["clip-vit-l-336", "llama-7b-4layers"])
    parser.add_argument("--types", nargs="+", choices=list(TYPES) + list(ALONE), default=list(TYPES) + list(ALONE))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--prompt", type=int, help="tokens of the prompt (default 600, OPT-1.3B 512)")
    parser.add_argument("--tokens", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--long", type=float, default=20, help="PyTorch's cold run is the only one where it takes more seconds (default 20)")
    parser.add_argument("--budget", type=float, default=120, help="no further round of a case begins that would end after so many seconds (default 120)")
    parser.add_argument("--output", help="all numbers as JSON")
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--make", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.make:
        return make_model(arguments.make, arguments.types[0], arguments.folder)
    if arguments.child:
        return child(arguments)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # the folder of weights goes then, too
    results, alone = [], []
    wanted = arguments.prompt
    for case in arguments.cases:
        arguments.prompt = wanted or CASES[case].get("prompt", 600)
        for kind in arguments.types:
            if kind in ALONE:
                if CASES[case].get("preset"):
                    alone.append(ours_alone(arguments, case, kind))
                continue
            folder = tempfile.mkdtemp(prefix="sensorium-bench-")
            try:
                results.append(run_case(arguments, case, kind, folder))
            finally:
                shutil.rmtree(folder)
    if results:
        print_tables(results)
    if arguments.output:
        with open(arguments.output, "w") as file:
            json.dump({"threads": arguments.threads, "tokens": arguments.tokens, "results": results, "alone": alone}, file, indent=1)


if __name__ == "__main__":
    main()
