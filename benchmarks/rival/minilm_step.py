"""A training step of MiniLM: lorasb-finetune beside PyTorch, with transformers' model and PEFT's or hand-written adapters.

usage: minilm_step.py PROGRAM MODEL CLINC150 [--method lora|lora-sb] [--threads N] [--pairs N] [--steps N] [--ours "--weights bf16"]
PROGRAM is lorasb-finetune, MODEL the Hugging Face folder, CLINC150 the path of data_full.json.

Both train adapters on every linear module of the six blocks and a head over 150 classes, on batches of the same texts: AdamW,
clipped gradients, float32. A pair runs both programs, one after the other, twice each: with 1 and with 3 passes over STEPS
batches. The difference is the time of 2 * STEPS steps without start and first estimate. Printed are medians over the pairs by
wall and by processor time, and the peak of resident memory, whole and above the idle program (PyTorch: its imports).
"""
import argparse
import json
import os
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

BATCH = 32


def torch_program(options):
    """One run of PyTorch, in a process of its own."""
    import torch
    import torch.nn.functional as F
    import transformers
    from torch import nn

    torch.set_num_threads(options.threads)
    torch.manual_seed(0)

    class Cores(nn.Module):
        """W0 x + b + B R A x."""

        def __init__(self, linear, rank):
            super().__init__()
            self.linear = linear
            self.A = nn.Parameter(torch.empty(rank, linear.in_features), requires_grad=False)
            self.B = nn.Parameter(torch.empty(linear.out_features, rank), requires_grad=False)
            self.R = nn.Parameter(torch.zeros(rank, rank))
            nn.init.orthogonal_(self.A)
            nn.init.orthogonal_(self.B)

        def forward(self, x):
            return self.linear(x) + F.linear(F.linear(F.linear(x, self.A), self.R), self.B)

    def put_cores(module):
        for name, child in module.named_children():
            if isinstance(child, nn.Linear):
                setattr(module, name, Cores(child, options.rank))
            else:
                put_cores(child)

    base = transformers.AutoModel.from_pretrained(options.model, add_pooling_layer=False)
    base.requires_grad_(False)
    if options.method == "lora":
        import peft

        base = peft.get_peft_model(base, peft.LoraConfig(r=options.rank, lora_alpha=options.rank, target_modules="all-linear"))
    else:
        put_cores(base.encoder)
    base.train()
    for module in base.modules():  # dropout is off on both sides
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    head = nn.Linear(384, 150)
    texts = json.loads(pathlib.Path(options.texts).read_text())
    tokenizer = transformers.AutoTokenizer.from_pretrained(options.model)
    batches = []
    for i in range(0, len(texts), BATCH):
        piece = texts[i : i + BATCH]
        encoded = tokenizer([t for t, _ in piece], padding=True, truncation=True, return_tensors="pt")
        batches.append((encoded, torch.tensor([label for _, label in piece])))
    trained = [p for p in [*base.parameters(), *head.parameters()] if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-3, weight_decay=0.01)
    for _ in range(options.epochs):
        for encoded, labels in batches:
            optimizer.zero_grad()
            hidden = base(**encoded).last_hidden_state
            kept = encoded["attention_mask"][:, :, None].float()
            mean = (hidden * kept).sum(1) / kept.sum(1)
            F.cross_entropy(head(F.normalize(mean, dim=-1) * 384**0.5), labels).backward()
            nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
    print(sum(p.numel() for p in trained))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("model")
    parser.add_argument("texts")
    parser.add_argument("--method", choices=["lora", "lora-sb"], default="lora-sb")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--ours", default="", help="further options of lorasb-finetune")
    parser.add_argument("--epochs", type=int, default=0, help="run PyTorch alone, in this process")
    options = parser.parse_args()
    if options.epochs > 0:
        return torch_program(options)

    from end_to_end import run

    data = json.loads(pathlib.Path(options.texts).read_text())["train"]
    random.Random(0).shuffle(data)
    data = data[: options.steps * BATCH]
    names = sorted({label for _, label in data})
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "texts.json").write_text(json.dumps([[text, names.index(label)] for text, label in data]))
        tsv = "".join(f"{label}\t{text}\n" for text, label in data)
        (folder / "train.tsv").write_text(tsv)
        (folder / "test.tsv").write_text("".join(f"{data[0][1]}\t{text}\n" for text, _ in data[:8]))
        rival = [sys.executable, __file__, options.program, options.model, str(folder / "texts.json"), "--method", options.method,
                 "--rank", str(options.rank), "--threads", str(options.threads), "--epochs"]
        ours = [options.program, "--data", f"tsv:{folder}/train.tsv:{folder}/test.tsv", "--model", options.model, "--method",
                options.method, "--rank", str(options.rank), "--threads", str(options.threads), "--parts", str(options.threads),
                "--batch", str(BATCH), "--validation-size", "0", "--checkpoint-every", "0", "--look-ahead", "0",
                "--start-head-epochs", "1", "--out", str(folder / "out"), *options.ours.split(), "--epochs"]
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # other programs on the machine would stop a thread that spins
        idle = {"ours": run([options.program, "--help"])[0]["peak_bytes"],
                "PyTorch": run([sys.executable, "-c", "import torch, peft; from transformers import AutoModel, AutoTokenizer, BertModel"])[0]["peak_bytes"]}
        rows = {"ours": [], "PyTorch": []}
        for _ in range(options.pairs):
            for side, command in (("ours", ours), ("PyTorch", rival)):
                one, three = (run([*command, str(epochs)])[0] for epochs in (1, 3))
                rows[side].append([(three[t] - one[t]) / (2 * options.steps) for t in ("wall_s", "cpu_s")] + [three["peak_bytes"]])
    for side, found in rows.items():
        wall, cpu, peak = (statistics.median(column) for column in zip(*found))
        print(f"{side:8} {1000 * wall:7.1f} ms wall, {1000 * cpu:7.1f} ms of the processor a step, peak {peak / 2**20:6.0f} MiB, "
              f"{(peak - idle[side]) / 2**20:6.0f} above idle")
    for what, column in (("wall", 0), ("processor", 1)):
        ratios = sorted(b[column] / a[column] for a, b in zip(rows["ours"], rows["PyTorch"]))
        print(f"{options.method}, {options.threads} threads: PyTorch takes {statistics.median(ratios):.2f} times our {what} time "
              f"({ratios[0]:.2f} to {ratios[-1]:.2f})")


if __name__ == "__main__":
    main()
