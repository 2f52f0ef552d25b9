"""Writes optimizers.safetensors: several steps of torch's optimizers, schedulers and clipping, for tests/optim.

Made with torch 1.13.0 and numpy 1.24.2 (Debian 12: python3-torch, python3-numpy). Run: /usr/bin/python3 optimizers.py
"""
import json
import math
import pathlib
import struct
import warnings

import numpy as np
import torch
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, LambdaLR, LinearLR, SequentialLR

warnings.filterwarnings("ignore")
DTYPES = {np.dtype("float32"): "F32", np.dtype("float64"): "F64"}


def write_safetensors(path, tensors):
    header, data = {}, b""
    for name, array in tensors.items():
        raw = np.ascontiguousarray(array).tobytes()
        header[name] = {"dtype": DTYPES[array.dtype], "shape": list(array.shape),
                        "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


SIZE, STEPS = 7, 5
RATES = [1e-3, 1e-2, 0.0, 5e-2, 1e-1]

# The names are the test's; each stands for the options beside it there.
OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=1),
    "sgd_decay": lambda p: torch.optim.SGD(p, lr=1, weight_decay=0.1),
    "sgd_momentum": lambda p: torch.optim.SGD(p, lr=1, momentum=0.9),
    "sgd_dampening": lambda p: torch.optim.SGD(p, lr=1, momentum=0.8, dampening=0.3, weight_decay=0.05),
    "sgd_nesterov": lambda p: torch.optim.SGD(p, lr=1, momentum=0.9, nesterov=True, weight_decay=0.01),
    "adamw": lambda p: torch.optim.AdamW(p, lr=1),
    "adamw_no_decay": lambda p: torch.optim.AdamW(p, lr=1, weight_decay=0.0),
    "adamw_other": lambda p: torch.optim.AdamW(p, lr=1, betas=(0.8, 0.95), eps=1e-4, weight_decay=0.3),
}


def optimizers(out):
    for dtype, suffix in ((torch.float64, "f64"), (torch.float32, "f32")):
        generator = torch.Generator().manual_seed(1)
        start = torch.randn(SIZE, generator=generator, dtype=torch.float64)
        gradients = torch.randn(STEPS, SIZE, generator=generator, dtype=torch.float64)
        gradients[:, 1] *= 1e-9  # where epsilon matters
        gradients[:, 2] *= 1e6
        gradients[2, 3] = 0
        start, gradients = start.to(dtype), gradients.to(dtype)
        out[f"start.{suffix}"], out[f"gradients.{suffix}"] = start.numpy(), gradients.numpy()
        for name, make in OPTIMIZERS.items():
            value = start.clone().requires_grad_()
            optimizer = make([value])
            history = []
            for step in range(STEPS):
                optimizer.param_groups[0]["lr"] = RATES[step]
                value.grad = gradients[step].clone()
                optimizer.step()
                history.append(value.detach().clone())
            out[f"{name}.{suffix}"] = torch.stack(history).numpy()
    out["rates"] = np.array(RATES)


def rates(make, steps):
    """The rate that each of `steps` optimizer steps uses."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=RATE)
    scheduler = make(optimizer)
    used = []
    for _ in range(steps):
        used.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return np.array(used)


RATE, TOTAL, WARMUP, MINIMUM = 3e-4, 24, 6, 2e-5


def transformers_linear(c):  # transformers.get_linear_schedule_with_warmup
    if c < WARMUP:
        return c / max(1, WARMUP)
    return max(0.0, (TOTAL - c) / max(1, TOTAL - WARMUP))


def transformers_cosine(c):  # transformers.get_cosine_schedule_with_warmup, num_cycles = 0.5
    if c < WARMUP:
        return c / max(1, WARMUP)
    return max(0.0, 0.5 * (1.0 + math.cos(math.pi * (c - WARMUP) / max(1, TOTAL - WARMUP))))


def transformers_constant(c):  # transformers.get_constant_schedule_with_warmup
    return c / max(1.0, WARMUP) if c < WARMUP else 1.0


def schedules(out):
    def warm_then(then):
        return lambda o: SequentialLR(o, [LinearLR(o, 1 / WARMUP, 1, WARMUP - 1), then(o)], [WARMUP])

    out["torch.linear"] = rates(lambda o: LinearLR(o, 1, 0, TOTAL), TOTAL)
    out["torch.cosine"] = rates(lambda o: CosineAnnealingLR(o, TOTAL, MINIMUM), TOTAL)
    out["torch.warm_constant"] = rates(warm_then(lambda o: ConstantLR(o, 1, 1)), TOTAL)
    out["torch.warm_linear"] = rates(warm_then(lambda o: LinearLR(o, 1, 0, TOTAL - WARMUP)), TOTAL)
    out["torch.warm_cosine"] = rates(warm_then(lambda o: CosineAnnealingLR(o, TOTAL - WARMUP, MINIMUM)), TOTAL)
    out["transformers.constant"] = rates(lambda o: LambdaLR(o, transformers_constant), TOTAL)
    out["transformers.linear"] = rates(lambda o: LambdaLR(o, transformers_linear), TOTAL)
    out["transformers.cosine"] = rates(lambda o: LambdaLR(o, transformers_cosine), TOTAL)


def clipping(out):
    generator = torch.Generator().manual_seed(2)
    parts = [torch.randn(n, generator=generator, dtype=torch.float64) for n in (5, 12)]
    out["clip.first"], out["clip.second"] = parts[0].numpy().copy(), parts[1].numpy().copy()
    for part in parts:
        part.requires_grad_()
        part.grad = part.detach().clone()
    out["clip.norm"] = torch.nn.utils.clip_grad_norm_(parts, 0.5).reshape(1).numpy()
    out["clip.clipped_first"], out["clip.clipped_second"] = parts[0].grad.numpy(), parts[1].grad.numpy()


tensors = {}
optimizers(tensors)
schedules(tensors)
clipping(tensors)
write_safetensors(pathlib.Path(__file__).with_suffix(".safetensors"), tensors)
