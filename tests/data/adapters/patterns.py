"""Writes the folder patterns/: an adapter with ranks and alphas of its own for single modules, and what PEFT merges it to.

    python3 patterns.py LLAMA OUT       (peft, transformers, safetensors)

LLAMA is the model of the case components/llama/batch-generate. merged.safetensors holds the weights that changed.
"""
import sys

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import LlamaForCausalLM

base, out = sys.argv[1:]
torch.manual_seed(3)
model = LlamaForCausalLM.from_pretrained(base, dtype=torch.float32)
config = LoraConfig(
    r=4,
    lora_alpha=8,
    target_modules=["q_proj", "v_proj", "down_proj"],
    rank_pattern={"layers.1.self_attn.q_proj": 3, r".*\.0\.mlp\.down_proj": 1, "v_proj|q_proj": 2},
    alpha_pattern={"^model.layers.0.self_attn.v_proj": 7, "down_proj": 3, "proj": 100},
)
adapted = get_peft_model(model, config)
with torch.no_grad():
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            parameter.normal_(0, 0.1)
adapted.save_pretrained(out)
merged = adapted.merge_and_unload().state_dict()
save_file({k: v.contiguous() for k, v in merged.items() if k.split(".")[-2] in config.target_modules}, out + "/merged.safetensors")
