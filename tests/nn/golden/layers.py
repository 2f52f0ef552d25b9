"""Writes layers.safetensors: inputs, outputs and gradients of torch's layers in float64, for tests/nn.

Activations are [tokens, features] as torch has them, which is the same memory as lorasb's features x tokens. Every output
Y is followed by a random dY; gradients are those of sum(dY * Y).

Made with torch 1.13.0 and numpy 1.24.2 (Debian 12: python3-torch, python3-numpy). Run: /usr/bin/python3 layers.py
The last bits of products depend on the BLAS behind torch.
"""
import json
import math
import pathlib
import struct

import numpy as np
import torch
import torch.nn.functional as F

DTYPES = {np.dtype("float64"): "F64", np.dtype("int32"): "I32", np.dtype("int64"): "I64"}
torch.set_default_dtype(torch.float64)
torch.manual_seed(7)
tensors = {}


def write_safetensors(path, named):
    header, data = {}, b""
    for name, array in named.items():
        raw = np.ascontiguousarray(array).tobytes()
        header[name] = {"dtype": DTYPES[array.dtype], "shape": list(array.shape),
                        "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def record(layer, forward, constants=None, **inputs):
    """Stores the inputs, Y, dY and the gradient of each input under "layer.name"."""
    leaves = {name: value.clone().requires_grad_() for name, value in inputs.items()}
    y = forward(**leaves)
    dy = torch.randn_like(y)
    (dy * y).sum().backward()
    tensors.update({f"{layer}.{name}": value for name, value in (constants or {}).items()})
    tensors[f"{layer}.Y"], tensors[f"{layer}.dY"] = y.detach().numpy(), dy.numpy()
    for name, leaf in leaves.items():
        tensors[f"{layer}.{name}"] = leaf.detach().numpy()
        tensors[f"{layer}.d{name}"] = leaf.grad.numpy()


LENGTHS = [3, 1, 5]
OFFSETS = np.cumsum([0] + LENGTHS)
TOKENS = sum(LENGTHS)
tensors["offsets"] = OFFSETS.astype(np.int64)

ids = torch.tensor([4, 0, 9, 4, 4, 1, 2, 9, 3])
record("embedding", lambda table: F.embedding(ids, table), {"ids": ids.numpy().astype(np.int32)}, table=torch.randn(10, 6))

record("linear", lambda X, W, b: F.linear(X, W, b), X=torch.randn(TOKENS, 4), W=torch.randn(5, 4), b=torch.randn(5))

record("layer_norm", lambda X, scale, bias: F.layer_norm(X, (7,), scale, bias, eps=1e-6),
       X=3 * torch.randn(TOKENS, 7) + 2, scale=torch.randn(7), bias=torch.randn(7))

grid = torch.cat([torch.randn(5, 6), 5 * torch.randn(4, 6)])
record("relu", lambda X: F.relu(X), X=grid)
record("gelu", lambda X: F.gelu(X), X=grid)
record("tanh", lambda X: torch.tanh(X), X=grid)

HEADS, SIZE = 2, 3


def attention(QKV):
    """With padding and a mask, as most programs do it: [sequences, heads, longest, size]."""
    longest = max(LENGTHS)
    padded = torch.stack([F.pad(QKV[a:b], (0, 0, 0, longest - (b - a))) for a, b in zip(OFFSETS[:-1], OFFSETS[1:])])
    q, k, v = (part.unflatten(2, (HEADS, SIZE)).transpose(1, 2) for part in padded.chunk(3, dim=2))
    mask = torch.arange(longest)[None, :] < torch.tensor(LENGTHS)[:, None]
    scores = q @ k.transpose(2, 3) / math.sqrt(SIZE)
    weights = torch.softmax(scores.masked_fill(~mask[:, None, None, :], -math.inf), dim=3)
    output = (weights @ v).transpose(1, 2).flatten(2)
    return torch.cat([output[i, :n] for i, n in enumerate(LENGTHS)])


record("attention", attention, QKV=2 * torch.randn(TOKENS, 3 * HEADS * SIZE))

record("feed_forward", lambda X, W1, b1, W2, b2: F.linear(F.relu(F.linear(X, W1, b1)), W2, b2), X=torch.randn(TOKENS, 4),
       W1=torch.randn(6, 4), b1=torch.randn(6), W2=torch.randn(5, 6), b2=torch.randn(5))

record("mean_pool", lambda X: torch.stack([X[a:b].mean(0) for a, b in zip(OFFSETS[:-1], OFFSETS[1:])]), X=torch.randn(TOKENS, 4))

short = torch.randn(4, 5)
short[1] = 0
short[2] *= 1e-8  # below the guard
record("l2_normalize", lambda X: X * torch.rsqrt(torch.clamp((X * X).sum(1, keepdim=True), min=1e-12)), X=short)

logits = torch.randn(6, 5)
logits[1] = torch.tensor([1e4, -1e4, 0.0, 9999.0, -3.0])
logits[2] = torch.tensor([-1e4, 1e4, -1e4, 0.0, 0.0])
logits[3] = 7.0
labels = torch.tensor([4, 0, 3, 2, 1, 1])
leaf = logits.clone().requires_grad_()
losses = F.cross_entropy(leaf, labels, reduction="none")
losses.sum().backward()
tensors.update({"cross_entropy.logits": logits.numpy(), "cross_entropy.labels": labels.numpy().astype(np.int32),
                "cross_entropy.losses": losses.detach().numpy(), "cross_entropy.dlogits": leaf.grad.numpy()})

write_safetensors(pathlib.Path(__file__).with_suffix(".safetensors"), tensors)
