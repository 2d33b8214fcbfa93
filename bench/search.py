#!/usr/bin/env python3
"""Gallery search beside FAISS's flat index: the same vectors, queries and threads, in turns (numpy, faiss-cpu).

    bench/search.py [--program build/bench/search] [--rows 100000 1000000] [--rounds 5]

Prints milliseconds (the least of the rounds), the ratio (above 1: Sensorium is faster), the share of FAISS's results
that are found, what a search of f16 rows loses, and, for one query, what share it has of the bandwidth at which the same process reads
the same rows where nothing is done with them (the median of the rounds).
"""
import argparse
import os
import statistics
import subprocess
import tempfile
import time

import faiss
import numpy


def ours(program, rows, queries, width, k, kind, repeats):
    text = subprocess.run([program, rows, str(width), queries, str(k), kind, str(repeats)], capture_output=True, text=True, check=True).stdout.splitlines()
    return min(map(float, text[:repeats])), float(text[repeats]), [set(line.split()) for line in text[repeats + 1:]]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default="build/bench/search")
    parser.add_argument("--rows", type=int, nargs="+", default=[100000, 1000000])
    parser.add_argument("--queries", type=int, nargs="+", default=[1, 100])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    width, k = 256, 10
    faiss.omp_set_num_threads(len(os.sched_getaffinity(0)))
    for count in options.rows:
        random = numpy.random.default_rng(1)
        rows = random.standard_normal((count, width), dtype=numpy.float32)
        rows /= numpy.linalg.norm(rows, axis=1, keepdims=True)
        index = faiss.IndexFlatIP(width)
        index.add(rows)
        for number in options.queries:
            queries = random.standard_normal((number, width), dtype=numpy.float32)
            with tempfile.TemporaryDirectory() as folder:
                rows.tofile(folder + "/rows")
                queries.tofile(folder + "/queries")
                best, limits = {"faiss": 9e9, "f32": 9e9, "f16": 9e9}, {"f32": [], "f16": []}
                for _ in range(options.rounds):
                    for _ in range(3):
                        begun = time.perf_counter()
                        _, wanted = index.search(queries, k)
                        best["faiss"] = min(best["faiss"], time.perf_counter() - begun)
                    share = {}
                    for kind in ("f32", "f16"):
                        seconds, rate, found = ours(options.program, folder + "/rows", folder + "/queries", width, k, kind, 3)
                        best[kind] = min(best[kind], seconds)
                        limits[kind].append(count * width * {"f32": 4, "f16": 2}[kind] / seconds / rate)
                        share[kind] = sum(len(f & set(map(str, w))) for f, w in zip(found, wanted)) / wanted.size
            print(f"{count} x {width}, {number} queries: faiss {1e3 * best['faiss']:.2f} ms; " + "; ".join(
                f"{kind} {1e3 * best[kind]:.2f} ms, ratio {best['faiss'] / best[kind]:.2f}, {100 * share[kind]:.2f} % of the same rows" for kind in ("f32", "f16"))
                + "".join(f"; {kind} reads at {100 * statistics.median(limits[kind]):.0f} % of the bandwidth" for kind in limits) * (number == 1), flush=True)


main()
