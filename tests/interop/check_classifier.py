"""Classifiers of sequences that PEFT trains on MiniLM, loaded by lorasb-finetune: the same logits and labels.

    python check_classifier.py BUILD_FOLDER

MiniLM is the folder that LORASB_MINILM_DIR names.
"""
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForSequenceClassification, AutoTokenizer, logging

logging.set_verbosity_error()
logging.disable_progress_bar()
program = pathlib.Path(sys.argv[1]) / "examples" / "lorasb-finetune"
base = os.environ["LORASB_MINILM_DIR"]
random.seed(3)
words = "the a small red house river engine bird walks runs sings turns quickly never again München café 東京 don't 3.14 #hash".split()
texts = [" ".join(random.choices(words, k=random.randint(1, 12))) for _ in range(500)]
tokenizer = AutoTokenizer.from_pretrained(base)
tokenizer.model_max_length = 512


def batches(size):
    for first in range(0, len(texts), size):
        yield first, tokenizer(texts[first:first + size], padding=True, truncation=True, max_length=512, return_tensors="pt")


def logits_of(model):
    model.eval()
    with torch.no_grad():
        return torch.cat([model(**batch).logits for _, batch in batches(50)])


def train(model):
    """Some steps towards labels that the texts decide."""
    model.train()
    rates = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=3e-3)
    for first, batch in list(batches(25))[:8]:
        labels = torch.tensor([len(t) % 3 for t in texts[first:first + 25]])
        rates.zero_grad()
        model(**batch, labels=labels).loss.backward()
        rates.step()


configs = {
    "LoRA": dict(r=8, lora_alpha=16, target_modules=["query", "value"]),
    "rsLoRA": dict(r=8, lora_alpha=8, use_rslora=True, target_modules=["query", "key", "value"]),
    "rank patterns": dict(r=8, lora_alpha=16, target_modules=["query", "value"], rank_pattern={r"layer\.[0-2]\.attention\.self\.query": 3},
                          alpha_pattern={"value": 5}),
    "all-linear": dict(r=4, lora_alpha=8, target_modules="all-linear"),
}
failed = 0

def logits_after_going_on(folder, plain):
    """PEFT's logits for the folder that lorasb-finetune writes when it goes on from `folder` at a rate of nothing."""
    pathlib.Path(folder, "train.tsv").write_text("".join(f"LABEL_{len(t) % 3}\t{t}\n" for t in texts[:40]))
    command = [program, "--model", base, "--load", folder, "--data", f"tsv:{folder}/train.tsv:{folder}/train.tsv", "--out", f"{folder}/out",
               "--epochs", "1", "--learning-rate", "1e-30", "--head-learning-rate", "1e-30"]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode != 0:
        raise SystemExit(f"  FAIL going on: {run.stderr.strip()}")
    return logits_of(PeftModel.from_pretrained(plain, f"{folder}/out/adapter"))


for name, config in configs.items():
    torch.manual_seed(5)
    plain = AutoModelForSequenceClassification.from_pretrained(base, num_labels=3)
    model = get_peft_model(plain, LoraConfig(task_type="SEQ_CLS", lora_dropout=0.0, **config))
    train(model)
    logits = logits_of(model)
    with model.disable_adapter():
        without = logits_of(model)
    changed = (without.argmax(1) != logits.argmax(1)).float().mean().item()
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        (pathlib.Path(folder) / "lines.txt").write_text("\n".join(texts) + "\n")
        run = subprocess.run([program, "--model", base, "--load", folder, "--predict", f"{folder}/lines.txt", "--json"], capture_output=True, text=True)
        if name == "LoRA" and run.returncode == 0:
            torch.manual_seed(5)
            again = logits_after_going_on(folder, AutoModelForSequenceClassification.from_pretrained(base, num_labels=3))
            error = (again - logits).abs().max().item()
            failed += error > 1e-3
            print(f"  {'ok  ' if error <= 1e-3 else 'FAIL'} going on from {name}: PEFT's logits differ by {error:.1e} at most")
    if run.returncode != 0:
        print(f"  FAIL {name}: {run.stderr.strip()}")
        failed += 1
        continue
    found = [json.loads(line) for line in run.stdout.splitlines()]
    expected = torch.softmax(logits.double(), 1)
    p = torch.tensor([[line["probabilities"][f"LABEL_{c}"] for c in range(3)] for line in found], dtype=torch.double)
    error = (p - expected).abs().max().item()
    top = logits.sort(1, descending=True).values
    clear = (top[:, 0] - top[:, 1]) > 1e-3
    same = all(line["label"] == f"LABEL_{int(c)}" for line, c, ok in zip(found, logits.argmax(1), clear) if ok)
    good = len(found) == 500 and error < 1e-4 and same and changed >= 0.1
    failed += not good
    print(f"  {'ok  ' if good else 'FAIL'} {name}: probabilities differ by {error:.1e} at most, labels {'agree' if same else 'DIFFER'}; "
          f"the adapter changes {100 * changed:.0f} % of the labels")
sys.exit(failed > 0)
