"""Whether two runs did the same up to rounding: losses, norms and samples of every step; parameters and moments of the last checkpoint.

    same_run.py FOLDER FOLDER
"""
import json
import os
import struct
import sys
from array import array


def lines(folder):
    return [json.loads(line) for line in open(folder + "/metrics.jsonl")]


def close(a, b, tolerance):
    return a == b or (a is not None and b is not None and abs(a - b) <= tolerance * max(1, abs(a)))


def checkpoint(folder):
    """Tensors by name, and state.json, of the last one."""
    last = max((f for f in os.listdir(folder) if f.startswith("step-")), key=lambda f: int(f[5:]))
    data = open(f"{folder}/{last}/parameters.safetensors", "rb").read()
    n = struct.unpack("<Q", data[:8])[0]
    head = json.loads(data[8:8 + n])
    head.pop("__metadata__", None)

    def floats(tensor):
        begin, end = tensor["data_offsets"]
        out = array("f")
        out.frombytes(data[8 + n + begin:8 + n + end])
        return out
    return {k: floats(t) for k, t in head.items()}, json.load(open(f"{folder}/{last}/state.json"))


def same_losses(one, other):
    a, b = lines(one), lines(other)
    assert len(a) == len(b), (len(a), len(b))
    for x, y in zip(a, b):
        assert x["tokens"] == y["tokens"] and x["learnt"] == y["learnt"] and x["pictures"] == y["pictures"], (x, y)
        assert close(x["grad_norm"], y["grad_norm"], 2e-4), (x, y)
        for k in x: # the loss, and its parts
            assert k in ("grad_norm", "lr", "seconds", "summing", "samples") or close(x[k], y[k], 2e-5), (k, x, y)


def same_parameters(one, other, tolerance=3e-4):
    (x, s), (y, r) = checkpoint(one), checkpoint(other)
    assert all(s[k] == r[k] for k in ("step", "updates", "skipped")), (s, r)
    assert x.keys() == y.keys()
    apart = {k: max(abs(p - q) for p, q in zip(x[k], y[k])) for k in x}
    worst = max(apart, key=apart.get)
    assert apart[worst] < tolerance, (worst, apart[worst])


if __name__ == "__main__":
    one, other = sys.argv[1:]
    assert [x["samples"] for x in lines(one)] == [x["samples"] for x in lines(other)]
    same_losses(one, other)
    same_parameters(one, other)
