"""Writes optimizers.safetensors: what PyTorch's optimizers make of 100 steps of the same gradients.

    python3 optimizers.py OUT.safetensors       (torch, safetensors)

gradients [100, 24] act on a matrix [4, 5] and a bias [4] that begin at `begin`; NAME.N are the 24 values after step N.
The norm of the gradients is clipped at 1 where the name ends in "clipped"; the matrix decays, the bias does not.
"""
import sys

import torch
from safetensors.torch import save_file

torch.manual_seed(7)
begin = torch.randn(24)
gradients = torch.randn(100, 24) * torch.logspace(-3, 1, 100)[:, None]
runs = {
    "adamw": lambda groups: torch.optim.AdamW(groups, lr=1e-2, betas=(0.9, 0.999), eps=1e-8, foreach=False),
    "adamw-clipped": lambda groups: torch.optim.AdamW(groups, lr=3e-3, betas=(0.8, 0.95), eps=1e-6, foreach=False),
    "adamw-low-beta": lambda groups: torch.optim.AdamW(groups, lr=1e-2, betas=(0.4, 0.9), eps=1e-8, foreach=False),
    "sgd": lambda groups: torch.optim.SGD(groups, lr=1e-2, foreach=False),
    "sgd-momentum-clipped": lambda groups: torch.optim.SGD(groups, lr=1e-2, momentum=0.9, foreach=False),
    "sgd-nesterov": lambda groups: torch.optim.SGD(groups, lr=1e-3, momentum=0.9, nesterov=True, foreach=False),
}
out = {"begin": begin, "gradients": gradients}
for name, make in runs.items():
    matrix = torch.nn.Parameter(begin[:20].reshape(4, 5).clone())
    bias = torch.nn.Parameter(begin[20:].clone())
    optimizer = make([{"params": [matrix], "weight_decay": 0.1}, {"params": [bias], "weight_decay": 0.0}])
    for step in range(100):
        matrix.grad, bias.grad = gradients[step, :20].reshape(4, 5).clone(), gradients[step, 20:].clone()
        if name.endswith("clipped"):
            torch.nn.utils.clip_grad_norm_([matrix, bias], 1.0, foreach=False)
        optimizer.step()
        if step in (0, 9, 99):
            out[f"{name}.{step + 1}"] = torch.cat([matrix.detach().flatten(), bias.detach()]).clone()
save_file(out, sys.argv[1])
