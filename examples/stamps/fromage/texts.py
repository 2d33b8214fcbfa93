#!/usr/bin/python3
"""Texts for the small language model, from captions alone.

    texts.py CAPTIONS.jsonl TEXTS.jsonl

Two of each caption: as it stands, and as the answer to a request that names the same things in another order:
    Q: Show me a bee bottom right and an owl top left on blue
    A: an owl top left, a bee bottom right, blue
What is answered can be read in what was asked, so the model learns to look back at names and places; without that the hidden
state at the end of a caption would hold little of the caption."""
import json
import random
import sys


def request(caption, rng):
    *things, colour = caption.split(", ")
    rng.shuffle(things)
    return f"Q: Show me {' and '.join(things)} on {colour}\nA: {caption}"


def text(number, value):
    return {"id": str(number), "conversations": [{"from": "human", "value": ""}, {"from": "gpt", "value": value}]}


def main():
    rng = random.Random(1)
    captions = [json.loads(line)["caption"] for line in open(sys.argv[1], encoding="utf-8")]
    with open(sys.argv[2], "w", encoding="utf-8") as out:
        for number, caption in enumerate(captions):
            for value in (caption, request(caption, rng)):
                out.write(json.dumps(text(number, value)) + "\n")


if __name__ == "__main__":
    main()
