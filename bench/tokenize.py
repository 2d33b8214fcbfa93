"""Tokenizers beside Hugging Face's `tokenizers`: LLaMA, GPT-2 and BERT vocabularies over distinct natural text, one thread.

The vocabularies come from GGUF files; for the peer they are written as the tokenizer.json that transformers would make of
them. The peer encodes a document at a time without offsets (its fastest call); Sensorium gets the same documents as one file, and
the time it takes for an empty file is taken off. Seconds are the processor's, in alternating rounds of which the fastest
counts; the ids of one document are compared.
"""
import argparse
import gzip
import html
import json
import os
import pathlib
import re
import resource
import struct
import subprocess
import sys
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"


def read_gguf(path):
    """The metadata of a GGUF file as a dictionary."""
    data = path.read_bytes()
    at = 8

    def take(form):
        nonlocal at
        value = struct.unpack_from("<" + form, data, at)[0]
        at += struct.calcsize(form)
        return value

    def value(kind):
        nonlocal at
        if kind == 8:
            length = take("Q")
            at += length
            return data[at - length:at].decode()
        if kind == 9:
            inner, count = take("I"), take("Q")
            return [value(inner) for _ in range(count)]
        return take({0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}[kind])

    take("Q")
    count = take("Q")
    return {value(8): value(take("I")) for _ in range(count)}


def llama_json(tokens, types, scores):
    vocab = {t: i for i, t in enumerate(tokens)}
    merges = []
    for token, kind in zip(tokens, types):
        if kind == 1:
            for cut in range(1, len(token)):
                left, right = token[:cut], token[cut:]
                if left in vocab and right in vocab:
                    merges.append((-scores[vocab[token]], left, right))
    merges.sort(key=lambda m: (m[0], vocab[m[1]], vocab[m[2]]))
    return {"normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
            "pre_tokenizer": None, "model": {"type": "BPE", "vocab": vocab, "merges": [[l, r] for _, l, r in merges], "unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True}}


def gpt2_json(tokens, merges):
    return {"normalizer": None, "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True, "trim_offsets": True},
            "model": {"type": "BPE", "vocab": {t: i for i, t in enumerate(tokens)}, "merges": [m.split(" ", 1) for m in merges]}}


def bert_json(tokens, types):
    names = [t if k in (2, 3) else t[1:] if t.startswith("▁") else "##" + t for t, k in zip(tokens, types)]
    return {"normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": True}, "pre_tokenizer": {"type": "BertPreTokenizer"},
            "model": {"type": "WordPiece", "vocab": {t: i for i, t in enumerate(names)}, "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100}}


def peer_json(path):
    kv = {k.removeprefix("tokenizer.ggml."): v for k, v in read_gguf(path).items()}
    made = {"llama": lambda: llama_json(kv["tokens"], kv["token_type"], kv["scores"]), "gpt2": lambda: gpt2_json(kv["tokens"], kv["merges"]), "bert": lambda: bert_json(kv["tokens"], kv["token_type"])}
    return json.dumps({"version": "1.0", "added_tokens": [], "post_processor": None, "decoder": None, **made[kv["model"]]()})


def documents(folder, megabytes):
    """Distinct lines of the texts and pages of a folder, a file a document, up to so many bytes."""
    seen, total = set(), 0
    for path in sorted(p for p in pathlib.Path(folder).rglob("*") if p.is_file() and re.search(r"\.(txt|html?)(\.gz)?$", p.name)):
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        text = raw.decode("utf-8", "ignore").replace("\r", "").replace("\0", "")
        if ".htm" in path.name:
            text = html.unescape(re.sub(r"<[^>]*>", "", re.sub(r"(?s)<(script|style).*?</\1>", "", text)))
        lines = []
        for line in text.split("\n"):
            if line.strip() and hash(line) not in seen:
                seen.add(hash(line))
                lines.append(line)
        if lines:
            document = "\n".join(lines) + "\n"
            total += len(document.encode())
            yield document
        if total >= megabytes * 1_000_000:
            return


def seconds_of(command):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--program", default="build/sensorium")
    options.add_argument("--text", default="/usr/share/doc", help="a folder of texts and HTML pages")
    options.add_argument("--megabytes", type=float, default=10)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--work", default="build/bench-text")
    options.add_argument("vocabularies", nargs="+", help="GGUF files with tokenizer.ggml.*")
    a = options.parse_args()
    import tokenizers
    work = pathlib.Path(a.work)
    work.mkdir(parents=True, exist_ok=True)
    texts = list(documents(a.text, a.megabytes))
    whole, none = work / "text.txt", work / "none.txt"
    whole.write_text("".join(texts))
    none.write_text("")
    size = whole.stat().st_size / 1e6
    print(f"{size:.1f} MB in {len(texts)} documents of {a.text}; tokenizers {tokenizers.__version__}; one thread, fastest of {a.rounds} alternating rounds")
    for path in map(pathlib.Path, a.vocabularies):
        peer = tokenizers.Tokenizer.from_str(peer_json(path))
        call = [a.program, "tokenize", str(path), "--no-special", "--plain", "--count", "--file"]
        ours, theirs = [], []
        for _ in range(a.rounds):
            begin = time.process_time()
            encoded = peer.encode_batch_fast(texts, add_special_tokens=False)
            theirs.append(time.process_time() - begin)
            ours.append(seconds_of(call + [str(whole)]) - seconds_of(call + [str(none)]))
        print(f"{path.name:32} Sensorium {size / min(ours):7.2f} MB/s   tokenizers {size / min(theirs):7.2f} MB/s   ratio {min(theirs) / min(ours):5.2f}", end="")
        sample = texts[len(texts) // 2]
        (work / "sample.txt").write_text(sample)
        found = json.loads(subprocess.run([a.program, "tokenize", str(path), "--no-special", "--plain", "--json", "--file", str(work / "sample.txt")], check=True, capture_output=True).stdout)["ids"]
        print("   ids agree" if found == peer.encode(sample, add_special_tokens=False).ids else "   ids DIFFER")


sys.exit(main())
