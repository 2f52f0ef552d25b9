"""Adapter folders both ways with PEFT, on a small model of two linear layers, and official safetensors on every file.

    python check_adapters.py BUILD_FOLDER
"""
import json
import pathlib
import subprocess
import sys
import tempfile
import warnings

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file

program = pathlib.Path(sys.argv[1]) / "tests" / "interop_folders"


class Model(torch.nn.Module):
    def __init__(self, tensors):
        super().__init__()
        self.first = torch.nn.Linear(8, 12, bias=False)
        self.second = torch.nn.Linear(12, 5, bias=False)
        self.first.weight.data = tensors["first.weight"].clone()
        self.second.weight.data = tensors["second.weight"].clone()

    def forward(self, X):
        return self.second(torch.tanh(self.first(X)))


def difference(Y, expected):
    return ((Y - expected).abs().max() / expected.abs().max()).item()


def check(name, holds, words=""):
    print(f"  {'ok  ' if holds else 'FAIL'} {name} {words}")
    if not holds:
        check.failed += 1


check.failed = 0
with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    subprocess.run([program, "write", folder], check=True)
    for file in sorted(folder.rglob("*.safetensors")):
        check(f"safetensors reads {file.relative_to(folder)}", len(load_file(file)) > 0)
    tensors = load_file(folder / "model.safetensors")
    X, Y = tensors["X"], tensors["Y"]
    plain = difference(Model(tensors)(X), Y)
    check("the adapter matters", plain > 0.1, f"(without it the outputs differ by {plain:.2f})")
    for kind in ("folded", "lora"):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            model = PeftModel.from_pretrained(Model(tensors), folder / kind)
        error = difference(model(X), Y)
        check(f"PEFT gives what {kind}/ means", error < 1e-5, f"(differs by {error:.1e})")
        check(f"PEFT loads {kind}/ without a warning", not said, "; ".join(str(w.message)[:100] for w in said))
    try:
        PeftModel.from_pretrained(Model(tensors), folder / "native")
        check("PEFT refuses native/", False, "(it was loaded, without R)")
    except Exception as error:  # whatever PEFT throws for a type that it does not know
        check("PEFT refuses native/", True, f"({type(error).__name__}: {error})")

    configs = {
        "lora": LoraConfig(r=4, lora_alpha=8, target_modules=["first", "second"]),
        "rslora": LoraConfig(r=4, lora_alpha=8, use_rslora=True, target_modules=["first", "second"]),
        "patterns": LoraConfig(r=4, lora_alpha=8, rank_pattern={"second": 2}, alpha_pattern={"first": 3}, target_modules=["first", "second"]),
        "one module": LoraConfig(r=3, lora_alpha=5, target_modules=["second"]),
        "expression": LoraConfig(r=3, lora_alpha=5, target_modules=r"fir.*"),
        "all-linear": LoraConfig(r=3, lora_alpha=5, target_modules="all-linear"),
    }
    for name, config in configs.items():
        torch.manual_seed(7)
        model = get_peft_model(Model(tensors), config)
        for key, value in model.named_parameters():
            if "lora_" in key:
                value.data = torch.randn_like(value)
        path = folder / ("peft " + name)
        model.save_pretrained(path)
        save_file({"Y": model(X).detach().contiguous()}, path / "expected.safetensors")
        run = subprocess.run([program, "read", path], capture_output=True, text=True)
        words = (run.stdout + run.stderr).strip()
        check(f"lorasb gives what PEFT's {name} means", run.returncode == 0 and float(run.stdout) < 1e-5, f"(differs by {words})")
        # keys that PEFT writes today
    print("  adapter_config.json of this PEFT has", len(json.loads((folder / "peft lora" / "adapter_config.json").read_text())), "keys")
sys.exit(check.failed > 0)
