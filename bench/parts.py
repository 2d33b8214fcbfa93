#!/usr/bin/env python3
"""Tokenizers and pictures beside Hugging Face's and Pillow's, on this machine, one thread, in turns.

    python3 bench/parts.py --vocabularies DIR [--picture FILE] [--megabytes 10] [--rounds 3] [--json]

DIR holds ggml-vocab-llama-spm.gguf, ggml-vocab-gpt-2.gguf, ggml-vocab-bert-bge.gguf (llama.cpp's models/ folder): Hugging Face's
tokenizers are made of the same pieces, scores and merges. The text is Debian's own documentation under /usr/share/doc, cut at
blank lines, every paragraph once. The ids of both are compared. Without --picture a 12-megapixel JPEG is made. Needs, from PyPI:
tokenizers gguf numpy pillow torch transformers. Times are of the processor (one thread), the least of all rounds; ratios are
speed over speed: above 1, Sensorium is faster.
"""
import argparse
import glob
import gzip
import json
import os
import struct
import subprocess
import sys
import tempfile
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"
VOCABULARIES = {"llama": "ggml-vocab-llama-spm.gguf", "gpt-2": "ggml-vocab-gpt-2.gguf", "bert": "ggml-vocab-bert-bge.gguf"}


def paragraphs(megabytes):
    """Distinct paragraphs of natural text, in the order of the files' names."""
    seen, size = set(), 0
    for path in sorted(glob.glob("/usr/share/doc/**/*", recursive=True)):
        if not os.path.isfile(path) or os.path.islink(path) or path.endswith((".html", ".svg", ".js", ".css", ".png", ".py", ".pdf", ".xml")):
            continue
        try:
            text = (gzip.open(path) if path.endswith(".gz") else open(path, "rb")).read().decode()
        except (UnicodeDecodeError, OSError, EOFError):
            continue
        for paragraph in text.split("\n\n"):
            paragraph = paragraph.strip("\n")
            if len(paragraph) < 40 or "\0" in paragraph or paragraph in seen:
                continue
            seen.add(paragraph)
            size += len(paragraph.encode())
            yield paragraph
            if size > megabytes * 1e6:
                return


def strings(reader, key):
    field = reader.fields[key]
    return [bytes(field.parts[i]).decode() for i in field.data]


def hugging_face(kind, path):
    """The same vocabulary as a tokenizer of Hugging Face's, as its converters make it of the published files."""
    import gguf
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
    reader = gguf.GGUFReader(path)
    pieces = strings(reader, "tokenizer.ggml.tokens")
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    if kind == "bert":
        types = [int(t) for t in (reader.fields["tokenizer.ggml.token_type"].parts[i][0] for i in reader.fields["tokenizer.ggml.token_type"].data)]
        words = {(p if types[i] == 3 or p.startswith("[") and p.endswith("]") else p[1:] if p.startswith("\u2581") else "##" + p): i for i, p in enumerate(pieces)}
        tokenizer = Tokenizer(models.WordPiece(words, unk_token="[UNK]", max_input_chars_per_word=100))
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        return tokenizer
    if kind == "gpt-2":
        merges = [tuple(m.split(" ")) for m in strings(reader, "tokenizer.ggml.merges")]
        tokenizer = Tokenizer(models.BPE(vocabulary, merges))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        return tokenizer
    # the merges of a SentencePiece model: every pair of pieces that makes a piece, in the order of the made piece's score
    scores = reader.fields["tokenizer.ggml.scores"]
    score = {piece: float(scores.parts[i][0]) for piece, i in zip(pieces, scores.data)}
    merges = []
    for piece in pieces:
        cuts = [(piece[:k], piece[k:]) for k in range(1, len(piece)) if piece[:k] in vocabulary and piece[k:] in vocabulary]
        merges += [(score[piece], *cut) for cut in sorted(cuts, key=lambda c: (vocabulary[c[0]], vocabulary[c[1]]))]
    merges = [(a, b) for _, a, b in sorted(merges, key=lambda m: -m[0])]
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    tokenizer.decoder = decoders.ByteFallback()
    return tokenizer


def read_ids(path):
    data, at, lists = open(path, "rb").read(), 0, []
    while at < len(data):
        count = struct.unpack_from("<i", data, at)[0]
        lists.append(struct.unpack_from(f"<{count}i", data, at + 4))
        at += 4 + 4 * count
    return lists


def run(program, *words):
    done = subprocess.run([program, *map(str, words)], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout)


def tokenizers(arguments, folder):
    texts = list(paragraphs(arguments.megabytes))
    path, ids = os.path.join(folder, "texts"), os.path.join(folder, "ids")
    open(path, "wb").write(b"".join(t.encode() + b"\0" for t in texts))
    size = sum(len(t.encode()) for t in texts) / 1e6
    for kind, name in VOCABULARIES.items():
        vocabulary = os.path.join(arguments.vocabularies, name)
        peer = hugging_face(kind, vocabulary)
        ours, theirs = [], []
        for turn in range(arguments.rounds):
            ours.append(run(arguments.program, "tokenize", vocabulary, path, 1, *([ids] if turn == 0 else []))["seconds"])
            begun = time.process_time()
            encoded = [peer.encode(t, add_special_tokens=False) for t in texts]
            theirs.append(time.process_time() - begun)
        other = [i for i, (a, b) in enumerate(zip(read_ids(ids), encoded)) if list(a) != b.ids]
        for i in other[:3]:
            print(f"{kind}: other ids for {texts[i][:200]!r}", file=sys.stderr)
        yield {"part": f"tokenizer {kind}", "megabytes": round(size, 2), "ours_mb_s": size / min(ours), "peer_mb_s": size / min(theirs),
               "ratio": min(theirs) / min(ours), "texts": len(texts), "texts_with_other_ids": len(other)}


def make_picture(path):
    """12 megapixels with large shapes, fine structure and a little noise, as a camera's JPEG has."""
    import numpy
    from PIL import Image
    y, x = numpy.mgrid[0:3000, 0:4000].astype(numpy.float32)
    waves = [numpy.sin(x / a + b) * numpy.cos(y / c) for a, b, c in ((311, 0, 173), (97, 1, 211), (13, 2, 401))]
    noise = numpy.random.default_rng(0).normal(0, 4, (3000, 4000, 3))
    pixels = numpy.stack(waves, -1) * 90 + 128 + noise
    Image.fromarray(pixels.clip(0, 255).astype(numpy.uint8)).save(path, quality=90)


def slow_processor(size):
    try:
        from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil as Processor
    except ImportError:
        from transformers import CLIPImageProcessor as Processor
    return Processor(size={"shortest_edge": size}, crop_size=size)


def pictures(arguments, folder):
    from PIL import Image
    path = arguments.picture or os.path.join(folder, "picture.jpg")
    if not arguments.picture:
        make_picture(path)
    processor = slow_processor(336)
    ours, decode, process = [], [], []
    for _ in range(arguments.rounds):
        ours.append(run(arguments.program, "picture", path, 336, 3))
        begun = time.process_time()
        image = Image.open(path).convert("RGB")
        decoded = time.process_time()
        processor(image, return_tensors="np")
        decode.append(decoded - begun), process.append(time.process_time() - decoded)
    least = {key: min(o[key] for o in ours) for key in ours[0]}
    yield {"part": "picture", "file": os.path.basename(path), "ours_process_ms": 1e3 * least["process"], "peer_process_ms": 1e3 * min(process),
           "ratio": min(process) / least["process"], "ours_decode_ms": 1e3 * least["decode"], "peer_decode_ms": 1e3 * min(decode),
           "whole_over_decode": least["whole"] / least["decode"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default="build/bench/parts")
    parser.add_argument("--vocabularies", help="without it, tokenizers are left out")
    parser.add_argument("--picture")
    parser.add_argument("--megabytes", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for part in ([tokenizers] if arguments.vocabularies else []) + [pictures]:
            for row in part(arguments, folder):
                print(json.dumps(row) if arguments.json else "  ".join(f"{k} {v:.2f}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()), flush=True)


main()
