"""A regression and several labels, on tiny encoders, between transformers, PEFT and lorasb-finetune: losses and gradients of a step, and predictions,
of models trained in PEFT and read here, and of models trained here and read by PEFT and transformers.

    python check_problems.py BUILD_FOLDER
"""
import json
import pathlib
import random
import sys
import tempfile

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification

import tiny
from tiny import bases, outputs, predicted, report, run, some_texts, write_base

random.seed(4)
texts = some_texts(24, 14)
names = ["LABEL_0", "LABEL_1", "LABEL_2"]  # that both sides use
numbers = [1000.0 + 30 * t.count("fox") - 20 * t.count("o") for t in texts]
sets = [[float(w in t) for w in ("fox", "dog", "é")] for t in texts]
problems = {  # name: problem_type, outputs, targets, the column of the file
    "regression": ("regression", 1, torch.tensor(numbers)[:, None], [str(n) for n in numbers]),
    "multilabel": ("multi_label_classification", 3, torch.tensor(sets), [",".join(n for n, x in zip(names, row) if x) for row in sets]),
}


def relative(found, expected):
    return ((found - expected).norm() / expected.norm()).item()


def loss_of(model, tokenizer, targets):
    """Of all texts at once, as transformers' trainer would take it, but one text at a time: its loss is the mean of theirs."""
    return sum(model(**tokenizer(t, return_tensors="pt"), labels=y[None]).loss for t, y in zip(texts, targets)) / len(texts)


def check(name, problem, make, kind, targets_of_peft, saved):
    kind_of_problem, count, targets, column = problems[problem]
    base, data = folder / "base", f"tsv:{folder}/train.tsv:{folder}/train.tsv"
    tokenizer = write_base(base, name, make, kind)
    (folder / "lines.txt").write_text("\n".join(texts) + "\n")
    (folder / "train.tsv").write_text("".join(f"{c}\t{t}\n" for c, t in zip(column, texts)))

    def as_printed(logits):
        return torch.sigmoid(logits) if problem == "multilabel" else logits

    def here(*arguments):
        found = predicted(*arguments, "--predict", folder / "lines.txt")
        return torch.tensor([[line["value"]] if problem == "regression" else [line["probabilities"][n] for n in names] for line in found],
                            dtype=torch.double)

    def compare(what, found, expected):
        scale = expected.abs().max().item() if problem == "regression" else 1.0
        error = (found - expected).abs().max().item() / scale
        report(error < 1e-5 and expected.std(0).max() > 1e-3 * scale, f"{name}, {problem}: {what}: {error:.1e} of the largest at most")

    # PEFT trains, lorasb reads
    torch.manual_seed(6)
    whole = AutoModelForSequenceClassification.from_pretrained(base, num_labels=count, problem_type=kind_of_problem)
    config = LoraConfig(task_type="SEQ_CLS", r=4, lora_alpha=8, lora_dropout=0.0, target_modules=targets_of_peft, modules_to_save=saved)
    model = get_peft_model(whole, config).eval()
    rates = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=5e-3)
    for _ in range(5):
        rates.zero_grad()
        loss_of(model, tokenizer, targets).backward()
        rates.step()
    peft = folder / "peft"
    model.save_pretrained(peft)
    expected = as_printed(outputs(model, tokenizer, texts))
    said = ["--model", base, "--load", peft, "--task", problem]  # the folder of an adapter does not say that its labels are many
    compare("PEFT's folder is read", here(*said), expected)
    if problem == "regression":
        compare("one output is a regression", here(*said[:4]), expected)
    merged = model.merge_and_unload()
    merged.save_pretrained(folder / "whole")
    tokenizer.save_pretrained(folder / "whole")
    compare("transformers' whole model is read", here("--load", folder / "whole"), expected)

    # one step here from PEFT's folder: its loss, and the gradients that it moved by
    model = PeftModel.from_pretrained(AutoModelForSequenceClassification.from_pretrained(base, num_labels=count, problem_type=kind_of_problem), peft,
                                      is_trainable=True).eval()
    loss = loss_of(model, tokenizer, targets)
    loss.backward()
    if saved != ["classifier", "pooler.dense"]:  # training goes on from adapters and a head alone
        rate = 0.5
        run(*said, "--data", data, "--validation-size", 0, "--epochs", 1, "--batch", len(texts), "--optimizer", "sgd", "--learning-rate", rate, "--warmup", 0,
            "--max-norm", 0, "--threads", 1, "--out", folder / "step")
        m = json.loads((folder / "step" / "metrics.json").read_text())
        unit = targets.std(correction=0).item() ** 2 if problem == "regression" else 1.0  # numbers are trained at deviation 1
        error = abs(m["history"][0]["loss"] * unit - loss.item()) / loss.item()
        report(error < 1e-5, f"{name}, {problem}: the loss of a step differs by {error:.1e} of it")
        before, after = load_file(peft / "adapter_model.safetensors"), load_file(folder / "step" / "adapter" / "adapter_model.safetensors")
        wanted = {n.replace(".default", "").replace(".modules_to_save", ""): p.grad for n, p in model.named_parameters() if p.requires_grad}
        errors = {}
        for tensor, gradient in wanted.items():
            scale = 1.0 if "lora_" not in tensor and "pooler" not in tensor and "pre_classifier" not in tensor and "classifier.dense" not in tensor else unit
            moved = (before[tensor] - after[tensor]).double() / m["history"][0]["learning_rate"] * scale
            errors[tensor] = relative(moved, gradient.double())
        worst = max(errors, key=errors.get)
        report(len(errors) > 4 and errors[worst] < 1e-4, f"{name}, {problem}: gradients of {len(errors)} tensors differ by {errors[worst]:.1e} at most ({worst})")

    # lorasb trains, PEFT and transformers read
    for method in ("lora", "lora-sb"):
        out = folder / method
        run("--task", problem, "--data", data, "--model", base, "--pool", "pooler", "--method", method, "--rank", 4, "--batch", 8, "--epochs", 6,
            "--init-examples", 16, "--threads", 1, "--out", out, "--write-merged", folder / f"merged_{method}")
        expected = here("--load", out)
        torch.manual_seed(7)
        plain = AutoModelForSequenceClassification.from_pretrained(base, num_labels=count)
        compare(f"{method} trained here, folded, read by PEFT", as_printed(outputs(PeftModel.from_pretrained(plain, out / "folded"), tokenizer, texts)), expected)
        merged = AutoModelForSequenceClassification.from_pretrained(folder / f"merged_{method}")
        compare("the same merged, read by transformers", as_printed(outputs(merged, tokenizer, texts)), expected)
        with torch.no_grad():
            loss = loss_of(merged, tokenizer, targets).item()
        tested = json.loads(run("--load", out, "--test", folder / "train.tsv", "--json"))
        if problem == "regression":
            report(abs(tested["mean_squared_error"] - loss) < 1e-4 * loss, f"{name}, {problem}: transformers' loss of the merged folder is --test's")
        else:
            exact = sum((row > 0.5).double().tolist() == wanted for row, wanted in zip(expected, sets)) / len(texts)
            report(tested["test_accuracy"] == exact, f"{name}, {problem}: --test counts exact label sets as they are printed")
        report(merged.config.problem_type == kind_of_problem and merged.config.num_labels == count, f"{name}, {problem}: config.json says what it is")


for problem in problems:
    for name in ("BERT", "RoBERTa", "RoBERTa-PreLayerNorm", "DistilBERT"):
        with tempfile.TemporaryDirectory() as temporary:
            folder = pathlib.Path(temporary)
            try:
                check(name, problem, *bases[name])
            except Exception as error:  # the others are checked all the same
                report(False, f"{name}, {problem}: {type(error).__name__}: {error}")
sys.exit(tiny.failed > 0)
