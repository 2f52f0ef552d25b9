"""Tiny encoders of every family, between transformers, PEFT and lorasb-finetune: classifiers trained in PEFT and read here, classifiers
trained here and read by PEFT, and whole models with merged adapters.

    python check_merged.py BUILD_FOLDER
"""
import math
import pathlib
import random
import subprocess
import sys
import tempfile

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer, PreTrainedTokenizerFast

import tiny
from tiny import bases, golden, outputs, program, report, run, some_texts, write_base

labels = ["fox", "dog", "café"]
random.seed(3)
texts = some_texts(24, 14)
pairs = [tuple(some_texts(2, 12)) for _ in range(2000)]
kinds = [random.randrange(3) for _ in texts]


def predicted(*arguments):
    """Probabilities of all texts, by the labels' own order."""
    found = [line["probabilities"] for line in tiny.predicted(*arguments, "--predict", folder / "lines.txt")]
    names = sorted(found[0]) if found[0].keys() != set(labels) else labels
    return torch.tensor([[p[n] for n in names] for p in found], dtype=torch.double)


def probabilities(model, tokenizer):
    return torch.softmax(outputs(model, tokenizer, texts), 1)


def compare(what, found, expected, least=0.0):
    error = (found - expected).abs().max().item()
    report(error < 1e-5 and expected.std(0).max() > least, f"{what}: probabilities differ by {error:.1e} at most")


def train(model, tokenizer):
    model.train()
    rates = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=5e-3)
    for _ in range(3):
        rates.zero_grad()
        for t, kind in zip(texts, kinds):
            model(**tokenizer(t, return_tensors="pt"), labels=torch.tensor([kind])).loss.backward()
        rates.step()


def check(name, make, kind, targets, saved):
    base = folder / "base"
    tokenizer = write_base(base, name, make, kind)

    # PEFT trains, lorasb reads
    torch.manual_seed(6)
    whole = AutoModelForSequenceClassification.from_pretrained(base, num_labels=3)
    model = get_peft_model(whole, LoraConfig(task_type="SEQ_CLS", r=4, lora_alpha=8, lora_dropout=0.0, target_modules=targets, modules_to_save=saved))
    train(model, tokenizer)
    model.save_pretrained(folder / "peft")
    expected = probabilities(model, tokenizer)
    compare(f"{name}: PEFT's classifier is read", predicted("--model", base, "--load", folder / "peft"), expected, 0.01)
    run("--model", base, "--load", folder / "peft", "--write-merged", folder / "merged_peft")
    merged = AutoModelForSequenceClassification.from_pretrained(folder / "merged_peft")
    compare(f"{name}: PEFT's classifier, merged here", probabilities(merged, AutoTokenizer.from_pretrained(folder / "merged_peft")), expected)
    compare(f"{name}: the same, read again", predicted("--load", folder / "merged_peft"), expected)
    merged.save_pretrained(folder / "whole")  # by transformers
    tokenizer.save_pretrained(folder / "whole")
    compare(f"{name}: a whole classifier of transformers is read", predicted("--load", folder / "whole"), expected)

    # lorasb trains, PEFT and transformers read
    for method in ("lora", "lora-sb"):
        out = folder / method
        run("--data", f"tsv:{folder}/train.tsv:{folder}/train.tsv", "--model", base, "--pool", "pooler", "--method", method, "--rank", 4, "--batch", 8,
            "--epochs", 6, "--init-examples", 16, "--threads", 1, "--out", out, "--write-merged", folder / f"merged_{method}")
        expected = predicted("--load", out)
        torch.manual_seed(7)
        plain = AutoModelForSequenceClassification.from_pretrained(base, num_labels=3)
        order = [labels.index(n) for n in sorted(labels)]  # of classes here
        found = probabilities(PeftModel.from_pretrained(plain, folder / method / "folded"), tokenizer)
        compare(f"{name}: {method} trained here, folded, read by PEFT", found, expected[:, order], 0.002)
        merged = AutoModelForSequenceClassification.from_pretrained(folder / f"merged_{method}")
        found = probabilities(merged, tokenizer)
        compare(f"{name}: the same merged, read by transformers", found, expected[:, order])
        report([merged.config.id2label[i] for i in range(3)] == sorted(labels), f"{name}: its labels have their names")

    # two texts a line, cut as transformers cut them
    limit, many = 16, pairs if kind != "wordpiece" or "BERT" == name else pairs[:100]
    (folder / "pairs.tsv").write_text("".join(f"{labels[len(a) % 3]}\t{a}\t{b}\n" for a, b in pairs[:60]))
    (folder / "pairs.txt").write_text("".join(f"{a}\t{b}\n" for a, b in many))
    run("--data", f"tsv:{folder}/pairs.tsv:{folder}/pairs.tsv", "--pairs", "--max-tokens", limit, "--model", base, "--pool", "pooler", "--method", "lora",
        "--rank", 4, "--batch", 8, "--epochs", 2, "--threads", 1, "--out", folder / "pairs", "--write-merged", folder / "merged_pairs")
    merged = AutoModelForSequenceClassification.from_pretrained(folder / "merged_pairs").eval()
    found = [line["probabilities"] for line in tiny.predicted("--load", folder / "pairs", "--predict", folder / "pairs.txt")]
    expected = []
    with torch.no_grad():
        for first in range(0, len(many), 50):
            a, b = zip(*many[first:first + 50])
            batch = tokenizer(list(a), list(b), truncation="longest_first", max_length=limit, padding=True, return_tensors="pt")
            expected.append(torch.softmax(merged(**batch).logits.double(), 1))
    found = torch.tensor([[p[n] for n in sorted(labels)] for p in found], dtype=torch.double)
    compare(f"{name}: {len(many)} pairs of texts, cut to {limit} tokens", found, torch.cat(expected))

    # without transformers' head: the encoder, and a head of its own
    run("--data", f"tsv:{folder}/train.tsv:{folder}/train.tsv", "--model", base, "--pool", "mean", "--method", "lora-sb", "--rank", 4, "--batch", 8, "--epochs", 1,
        "--init-examples", 16, "--threads", 1, "--out", folder / "mean", "--write-merged", folder / "merged_mean")
    from safetensors.torch import load_file
    encoder, head = AutoModel.from_pretrained(folder / "merged_mean").eval(), load_file(folder / "merged_mean" / "classifier.safetensors")
    with torch.no_grad():
        vectors = torch.cat([torch.nn.functional.normalize(encoder(**tokenizer(t, return_tensors="pt")).last_hidden_state.mean(1)) for t in texts])
    logits = math.sqrt(vectors.shape[1]) * vectors @ head["classifier.weight"].T + head["classifier.bias"]
    compare(f"{name}: a mean's encoder by transformers, with the head beside it", torch.softmax(logits.double(), 1),
            predicted("--load", folder / "mean")[:, [labels.index(n) for n in sorted(labels)]])


for name, settings in bases.items():
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        (folder / "lines.txt").write_text("\n".join(texts) + "\n")
        (folder / "train.tsv").write_text("".join(f"{labels[k]}\t{t}\n" for t, k in zip(texts, kinds)))
        try:
            check(name, *settings)
        except Exception as error:  # the others are checked all the same
            report(False, f"{name}: {type(error).__name__}: {error}")

# a layer of the head that nobody saved
with tempfile.TemporaryDirectory() as temporary:
    folder = pathlib.Path(temporary)
    (folder / "lines.txt").write_text("a dog\n")
    bases["BERT without a pooler"][0]().save_pretrained(folder / "base")
    PreTrainedTokenizerFast(tokenizer_file=str(golden / "wordpiece_tokenizer.json")).save_pretrained(folder / "base")
    whole = AutoModelForSequenceClassification.from_pretrained(folder / "base", num_labels=3)
    get_peft_model(whole, LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["query"])).save_pretrained(folder / "peft")
    said = subprocess.run([program, "--model", folder / "base", "--load", folder / "peft", "--predict", folder / "lines.txt"], capture_output=True, text=True)
    report(said.returncode == 1 and "bert.pooler.dense.weight" in said.stderr, f"a layer that neither folder nor base has is named: {said.stderr.strip()}")
sys.exit(tiny.failed > 0)
