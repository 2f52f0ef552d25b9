"""What a private step adds to a plain one: lorasb-finetune beside Opacus, on the same encoder and texts.

usage: private_step.py FOLDER PROGRAM MODEL [--threads N] [--pairs N] [--steps N]; FOLDER is what dump_finetune wrote, PROGRAM is
lorasb-finetune, MODEL its --model. Each pair times plain and private steps of both, one after the other, so that a machine that
slows down slows all of them down; in processor seconds, which other programs lengthen less than they do the clock's. Prints the
medians, and what privacy adds as a share of a plain step.

Opacus: GradSampleModule (hooks) over the cores and the head, as nn.Linear, and DPOptimizer: flat clipping, noise on the sum.
"""
import argparse
import pathlib
import resource
import statistics
import subprocess
import tempfile
import time

import torch
from opacus import GradSampleModule
from opacus.optimizers import DPOptimizer
from torch import nn
import torch.nn.functional as F

import finetune


class Core(nn.Module):
    """W0 x + b + B R A x with R as a linear module, which Opacus has gradients per example of."""

    def __init__(self, linear, rank):
        super().__init__()
        self.linear = linear
        self.A, self.R, self.B = (nn.Linear(i, o, bias=False) for i, o in (
            (linear.weight.shape[1], rank), (rank, rank), (rank, linear.weight.shape[0])))
        for frozen in (self.A, self.B):
            nn.init.orthogonal_(frozen.weight)
            frozen.requires_grad_(False)
        nn.init.zeros_(self.R.weight)

    def forward(self, x):
        return self.linear(x) + self.B(self.R(self.A(x)))


def adapt(module, rank):
    for name, child in module.named_children():
        if isinstance(child, finetune.SbLinear):
            setattr(module, name, Core(child, rank))
        else:
            adapt(child, rank)


class Classifier(nn.Module):
    def __init__(self, folder, rank):
        super().__init__()
        self.encoder, self.head = finetune.read_encoder(folder)
        adapt(self.encoder, rank)

    def forward(self, ids, padding):
        return self.head(self.encoder(ids, padding))


def trainer(folder, options, is_private):
    model = Classifier(folder, options.rank)
    if is_private:
        model = GradSampleModule(model)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2, weight_decay=0.01)
    if is_private:
        optimizer = DPOptimizer(optimizer, noise_multiplier=1.0, max_grad_norm=1.0, expected_batch_size=options.batch)

    def step(batch):
        ids, padding, labels = batch
        optimizer.zero_grad()
        F.cross_entropy(model(ids, padding), labels).backward()
        if not is_private:
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step


def of_program(options, is_private, out):
    """Processor seconds of a step of lorasb-finetune: of a run of three epochs less those of a run of one."""
    return (seconds_of_run(options, is_private, out, 3) - seconds_of_run(options, is_private, out, 1)) / (2 * options.steps)


def seconds_of_run(options, is_private, out, epochs):
    command = [options.program, "--data", "wordnet", "--model", options.model, "--out", out, "--epochs", str(epochs), "--batch", str(options.batch),
               "--train-size", str(options.steps * options.batch), "--validation-size", "0", "--test-size", "32", "--look-ahead", "0",
               "--threads", str(options.threads), "--rank", str(options.rank), "--checkpoint-every", "0", "--start-head-epochs", "1"]
    if is_private:
        command += ["--private", "--sigma", "1", "--delta", "1e-5", "--clip", "1"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("program")
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rank", type=int, default=24)
    parser.add_argument("--batch", type=int, default=32)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    texts = finetune.Texts(options.folder, "train")
    numbers = torch.randperm(len(texts.ids))[: options.steps * options.batch].tolist()
    batches = [texts.batch(b) for b in finetune.batches(numbers, options.batch)]
    steps = {private: trainer(options.folder, options, private) for private in (False, True)}
    for step in steps.values():
        step(batches[0])
    times = {(side, private): [] for side in ("ours", "opacus") for private in (False, True)}
    with tempfile.TemporaryDirectory() as out:
        for _ in range(options.pairs):
            for private in (False, True):
                began = time.process_time()
                for batch in batches:
                    steps[private](batch)
                times["opacus", private].append((time.process_time() - began) / len(batches))
                times["ours", private].append(of_program(options, private, out))
    added = {}
    for side in ("ours", "opacus"):
        ratios = [p / q for p, q in zip(times[side, True], times[side, False])]
        added[side] = statistics.median(ratios) - 1
        print(f"{side:7} plain {1000 * statistics.median(times[side, False]):7.1f} ms, private "
              f"{1000 * statistics.median(times[side, True]):7.1f} ms, ratio {statistics.median(ratios):.3f} "
              f"({min(ratios):.3f} to {max(ratios):.3f})")
    print(f"privacy adds {added['ours']:.3f} of a plain step here, {added['opacus']:.3f} with Opacus")


if __name__ == "__main__":
    main()
