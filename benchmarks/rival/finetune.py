"""lorasb-finetune's recipe in PyTorch, as people write it: LoRA-SB on every linear module of the sentence encoder.

usage: finetune.py FOLDER [--threads N] [--epochs N] [--rank N]; FOLDER is what dump_finetune wrote.
Prints one line of JSON. Steps: the head alone on frozen features, the mean gradient of 256 texts, svd_lowrank of -lr sign(G)
for each module, AdamW on every R and the head, and the share of test texts that are classified right.
"""
import argparse
import json
import math
import pathlib

import numpy as np
import torch
from torch import nn
import torch.nn.functional as F

HEADS, WIDTHS, EPSILON = 4, (256, 512), 1e-6


class SbLinear(nn.Module):
    """y = W0 x + b, and B R A x beside it once adapt() was called."""

    def __init__(self, weight, bias):
        super().__init__()
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.bias = nn.Parameter(bias, requires_grad=False)
        self.R = None

    def adapt(self, update, rank):
        U, S, V = torch.svd_lowrank(update, q=rank, niter=10)
        self.register_buffer("B", U.contiguous())
        self.register_buffer("A", V.t().contiguous())
        self.R = nn.Parameter(torch.diag(S))

    def forward(self, x):
        y = F.linear(x, self.weight, self.bias)
        return y if self.R is None else y + F.linear(F.linear(F.linear(x, self.A), self.R), self.B)


class Layer(nn.Module):
    def __init__(self, linear, norm, i):
        super().__init__()
        name = f"layers.{i}"
        self.residual = linear(name + ".residual") if i == 0 else nn.Identity()
        self.qkv, self.out = linear(name + ".attention.qkv"), linear(name + ".attention.out")
        self.up, self.down = linear(name + ".feed_forward.up"), linear(name + ".feed_forward.down")
        self.attention_norm, self.feed_forward_norm = norm(name + ".attention_norm"), norm(name + ".feed_forward_norm")

    def forward(self, x, padding):
        texts, tokens, width = x.shape
        q, k, v = (t.view(texts, tokens, HEADS, -1).transpose(1, 2) for t in self.qkv(self.attention_norm(x)).chunk(3, -1))
        scores = q @ k.transpose(-2, -1) / math.sqrt(width / HEADS)
        mixed = scores.masked_fill(padding[:, None, None, :], -math.inf).softmax(-1) @ v
        h = self.out(mixed.transpose(1, 2).reshape(texts, tokens, width)) + self.residual(x)
        return h + self.down(F.relu(self.up(self.feed_forward_norm(h))))


class Encoder(nn.Module):
    def __init__(self, tensors, inverse_timescales):
        super().__init__()

        def linear(name):
            return SbLinear(tensors[name + ".weight"], tensors[name + ".bias"].view(-1))

        def norm(name):
            made = nn.LayerNorm(tensors[name + ".weight"].numel(), eps=EPSILON)
            made.weight.data, made.bias.data = tensors[name + ".weight"].view(-1), tensors[name + ".bias"].view(-1)
            return made.requires_grad_(False)

        self.embedding = nn.Embedding.from_pretrained(tensors["embedding.weight"], freeze=True)
        angles = torch.arange(128.0)[:, None] * inverse_timescales
        self.register_buffer("timing", torch.cat([angles.sin(), angles.cos()], 1))
        self.layers = nn.ModuleList(Layer(linear, norm, i) for i in range(len(WIDTHS)))
        self.projection = linear("projection")

    def forward(self, ids, padding):
        x = 2 * self.embedding(ids) + self.timing[: ids.shape[1]]
        for layer in self.layers:
            x = layer(x, padding)
        kept = (~padding).float()[:, :, None]
        y = torch.tanh(self.projection((x * kept).sum(1) / kept.sum(1)))
        return F.normalize(y, dim=-1) * math.sqrt(y.shape[-1])  # the head's features have size one


class Texts:
    def __init__(self, folder, name):
        ids = torch.from_numpy(np.fromfile(folder / f"{name}.ids", np.int32).astype(np.int64))
        self.ids = ids.split(np.fromfile(folder / f"{name}.lengths", np.int32).tolist())
        self.labels = torch.from_numpy(np.fromfile(folder / f"{name}.labels", np.int32).astype(np.int64))

    def batch(self, numbers):
        texts = [self.ids[i] for i in numbers]
        ids = nn.utils.rnn.pad_sequence(texts, batch_first=True)
        lengths = torch.tensor([len(t) for t in texts])
        return ids, torch.arange(ids.shape[1])[None] >= lengths[:, None], self.labels[numbers]


def batches(order, size):
    return [order[i : i + size] for i in range(0, len(order), size)]


@torch.no_grad()
def features(encoder, texts):
    return torch.cat([encoder(*texts.batch(b)[:2]) for b in batches(list(range(len(texts.ids))), 64)])


@torch.no_grad()
def accuracy(encoder, head, texts):
    return (head(features(encoder, texts)).argmax(1) == texts.labels).float().mean().item()


def fit_head(head, E, labels, epochs=4, batch=256, rate=3e-3, decay=0.3):
    optimizer = torch.optim.AdamW(head.parameters(), lr=rate, weight_decay=decay)
    steps = epochs * math.ceil(len(E) / batch)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: 1 - t / steps)
    for _ in range(epochs):
        for b in torch.randperm(len(E)).split(batch):
            optimizer.zero_grad()
            F.cross_entropy(head(E[b]), labels[b]).backward()
            optimizer.step()
            schedule.step()


def initialise(encoder, head, texts, rank, rate, examples=256):
    """B, R, A of every module from -rate sign(G), G the mean gradient over the examples."""
    modules = [m for m in encoder.modules() if isinstance(m, SbLinear)]
    for m in modules:
        m.weight.requires_grad_(True)
    numbers = torch.randperm(len(texts.ids))[:examples].tolist()
    for b in batches(numbers, 32):
        ids, padding, labels = texts.batch(b)
        F.cross_entropy(head(encoder(ids, padding)), labels, reduction="sum").backward()
    for m in modules:
        update = -rate * m.weight.grad.sign()
        m.weight.requires_grad_(False)
        m.weight.grad = None
        m.adapt(update, rank)
    head.zero_grad(set_to_none=True)
    return [m.R for m in modules]


def read_encoder(folder):
    """The encoder that dump_finetune wrote, and a head of zeros."""
    flat = torch.from_numpy(np.fromfile(folder / "weights", np.float32))
    tensors, at = {}, 0
    for line in (folder / "layout.tsv").read_text().splitlines():
        name, rows, cols = line.split("\t")
        size = int(rows) * int(cols)
        tensors[name] = flat[at : at + size].view(int(rows), int(cols))
        at += size
    encoder = Encoder(tensors, torch.from_numpy(np.fromfile(folder / "inverse_timescales", np.float32)))
    head = nn.Linear(WIDTHS[-1], int((folder / "classes").read_text()))
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return encoder, head


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rank", type=int, default=24)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)

    encoder, head = read_encoder(options.folder)
    train, validation, test = (Texts(options.folder, name) for name in ("train", "validation", "test"))

    fit_head(head, features(encoder, train), train.labels)
    rate, batch = 1e-2, 32
    steps = options.epochs * math.ceil(len(train.ids) / batch)
    warmup = int(0.06 * steps)
    cores = initialise(encoder, head, train, options.rank, rate / max(warmup, 1))
    optimizer = torch.optim.AdamW([{"params": cores}, {"params": head.parameters(), "lr": 3e-3}], lr=rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda t: (t + 1) / warmup if t < warmup else max(0, (steps - t) / max(1, steps - warmup)))
    for _ in range(options.epochs):
        for b in batches(torch.randperm(len(train.ids)).tolist(), batch):
            ids, padding, labels = train.batch(b)
            optimizer.zero_grad()
            F.cross_entropy(head(encoder(ids, padding)), labels).backward()
            nn.utils.clip_grad_norm_([*cores, *head.parameters()], 1.0)
            optimizer.step()
            schedule.step()
        accuracy(encoder, head, validation)
    print(json.dumps({"accuracy": accuracy(encoder, head, test)}))


if __name__ == "__main__":
    main()
