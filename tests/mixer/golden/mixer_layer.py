"""Writes mixer_layer.safetensors: one mixer layer in PyTorch, double, with gradients by autograd (torch 2.15.0, safetensors 0.8.0).

    python mixer_layer.py

Three LoRA-SB experts of ranks 1, 2, 2 (B R A) on a 5 x 4 projection, a router that reads x, 6 tokens; the loss is <dY, Y> plus the
Specialization Balance Loss with top-1 shares (detached), and both signs of its entropy term.
"""

from pathlib import Path

import torch
from safetensors.torch import save_file

torch.manual_seed(0)
torch.set_default_dtype(torch.float64)
out_features, in_features, tokens, ranks, scales, temperature = 5, 4, 6, [1, 2, 2], [0.7, 1.1, 0.5], 0.8
alpha, lam = 0.3, 0.2
E = len(ranks)
tensors = {"W0": torch.randn(out_features, in_features), "X": torch.randn(tokens, in_features), "dY": torch.randn(tokens, out_features),
           "G": torch.randn(E, in_features)}
for e, r in enumerate(ranks):
    tensors[f"B{e}"], tensors[f"R{e}"], tensors[f"A{e}"] = torch.randn(out_features, r), torch.randn(r, r), torch.randn(r, in_features)


def run(mode, k=None, renormalise=True, sign=None):
    t = {name: x.clone().requires_grad_() for name, x in tensors.items()}
    p = torch.softmax(t["X"] @ t["G"].T / temperature, dim=-1)
    g = p
    if mode == "top_k":
        mask = torch.zeros_like(p).scatter(1, p.topk(k, dim=-1).indices, 1.0)
        g = p * mask
        if renormalise:
            g = g / g.sum(-1, keepdim=True)
    Y = t["X"] @ t["W0"].T
    for e in range(E):
        Y = Y + g[:, e : e + 1] * scales[e] * (t["X"] @ t[f"A{e}"].T @ t[f"R{e}"].T @ t[f"B{e}"].T)
    f = torch.nn.functional.one_hot(p.argmax(-1), E).double().mean(0)
    balance = alpha * (p.mean(0) * f).sum() + sign * lam * -(p * p.log()).sum(-1).mean()
    ((Y * t["dY"]).sum() + balance).backward()
    return Y, balance, t


result = dict(tensors)
for name, arguments in {
    "soft": dict(mode="soft", sign=-1),
    "top_2": dict(mode="top_k", k=2, sign=1),
    "top_2_raw": dict(mode="top_k", k=2, renormalise=False, sign=-1),
}.items():
    Y, balance, t = run(**arguments)
    result[f"{name}.Y"], result[f"{name}.loss"] = Y, balance.reshape(1)
    for part in ["X", "G"] + [f"R{e}" for e in range(E)]:
        result[f"{name}.d{part}"] = t[part].grad
save_file({name: x.detach().contiguous() for name, x in result.items()}, Path(__file__).with_name("mixer_layer.safetensors"))
