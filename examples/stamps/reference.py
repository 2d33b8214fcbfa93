#!/usr/bin/env python3
"""What Hugging Face's transformers answers with the demo model: for models/demo/questions.jsonl, which tests hold Sensorium to.

    reference.py MODEL QUESTIONS PICTURES [SENSORIUM] > questions.jsonl

QUESTIONS has a line a question (scene, kind, language, question, answer); the pictures lie in PICTURES. Greedy, in float32; the ids of a
prompt are those of `sensorium tokenize --chat`. `margin` is the smallest gap between the two best logits on the way.
Needs torch, transformers and pillow."""
import json
import os
import subprocess
import sys
import tempfile

import torch
from PIL import Image
from transformers import CLIPImageProcessor, LlavaForConditionalGeneration

LONGEST = 64


def prompt(sensorium, model, picture, question):
    with tempfile.NamedTemporaryFile("w", suffix=".json") as request:
        content = [{"type": "image", "path": os.path.abspath(picture)}, {"type": "text", "text": question}]
        json.dump({"messages": [{"role": "user", "content": content}]}, request)
        request.flush()
        return json.loads(subprocess.run([sensorium, "tokenize", "--chat", request.name, model, "--json"], check=True, stdout=subprocess.PIPE).stdout)["ids"]


def answer(network, ids, pixels, end):
    """Token by token without a cache: slow, and plain."""
    said, margin = [], float("inf")
    while len(said) < LONGEST and (not said or said[-1] != end):
        logits = network(input_ids=torch.tensor([ids + said]), pixel_values=pixels).logits[0, -1]
        best = torch.topk(logits, 2)
        said.append(int(best.indices[0]))
        margin = min(margin, float(best.values[0] - best.values[1]))
    return said, margin


def main():
    model, questions, pictures = sys.argv[1:4]
    sensorium = sys.argv[4] if len(sys.argv) > 4 else os.path.join(os.path.dirname(__file__), "..", "..", "build", "sensorium")
    network = LlavaForConditionalGeneration.from_pretrained(model, dtype=torch.float32).eval()
    images = CLIPImageProcessor.from_pretrained(model)
    end, picture_token = network.config.text_config.eos_token_id, network.config.image_token_id
    for line in open(questions, encoding="utf-8"):
        row = json.loads(line)
        path = os.path.join(pictures, os.path.basename(row["scene"]))
        pixels = images(Image.open(path), return_tensors="pt")["pixel_values"]
        ids = [picture_token if i < 0 else i for i in prompt(sensorium, model, path, row["question"])]
        with torch.inference_mode():
            said, margin = answer(network, ids, pixels, end)
        told = [str(i) for i in said if i != end]
        text = subprocess.run([sensorium, "tokenize", model, "--decode", ",".join(told)], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
        print(json.dumps({key: row[key] for key in ("scene", "kind", "language", "question", "answer")} |
                         {"reference_answer": text, "reference_ids": said, "margin": round(margin, 5)}, ensure_ascii=False), flush=True)


if __name__ == "__main__":
    main()
