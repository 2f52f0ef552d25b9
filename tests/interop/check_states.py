"""Hidden states and pooled vectors of every family beside transformers, on random tiny folders, and on MiniLM for 200 texts.

    python check_states.py BUILD_FOLDER

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
from safetensors.torch import load_file
from transformers import (AutoModel, AutoModelForSequenceClassification, AutoTokenizer, BertConfig, DistilBertConfig, RobertaConfig,
                          RobertaPreLayerNormConfig, XLMRobertaConfig, logging)

logging.set_verbosity_error()
logging.disable_progress_bar()
program = pathlib.Path(sys.argv[1]) / "tests" / "interop_states"
sizes = dict(vocab_size=200, hidden_size=48, num_hidden_layers=3, num_attention_heads=4, intermediate_size=72, max_position_embeddings=66, num_labels=3)
roberta = dict(type_vocab_size=1, pad_token_id=1, **sizes)
configs = {
    "BERT": BertConfig(**sizes),
    "BERT, gelu_new, one head": BertConfig(**{**sizes, "num_attention_heads": 1}, hidden_act="gelu_new", layer_norm_eps=1e-5, type_vocab_size=3),
    "BERT, relu": BertConfig(**sizes, hidden_act="relu"),
    "RoBERTa": RobertaConfig(**roberta),
    "XLM-RoBERTa": XLMRobertaConfig(**roberta),
    "RoBERTa-PreLayerNorm": RobertaPreLayerNormConfig(**roberta, layer_norm_eps=1e-5),
    "DistilBERT": DistilBertConfig(vocab_size=200, dim=48, n_layers=3, n_heads=4, hidden_dim=72, max_position_embeddings=66, num_labels=3),
}
failed = 0


def randomize(model):
    """Norms and biases that are not 1 and 0 show what a wrong order of them would not."""
    torch.manual_seed(7)
    with torch.no_grad():
        for name, p in model.named_parameters():
            centre = 1.0 if "norm" in name.split(".")[-2].lower() and name.endswith("weight") else 0.0
            p.copy_(centre + 0.12 * torch.randn(p.shape))
    return model.eval()


def found_here(folder, pool, texts, place):
    (place / "texts.json").write_text(json.dumps(texts))
    subprocess.run([program, folder, pool, place / "texts.json", place / "out.safetensors"], check=True)
    return load_file(place / "out.safetensors")


def compare(what, found, expected):
    global failed
    error = ((found.double() - expected.double()).abs().max() / expected.abs().max()).item()
    good = found.shape == expected.shape and error < 1e-5
    failed += not good
    print(f"  {'ok  ' if good else 'FAIL'} {what}: {error:.1e} of the largest entry, {len(expected)} rows")


def pooled_by_head(model, out):
    first = out.last_hidden_state[:, 0]
    if model.config.model_type == "bert":
        return out.pooler_output
    if model.config.model_type == "distilbert":
        return torch.relu(model.pre_classifier(first))
    return torch.tanh(model.classifier.dense(first))


random.seed(2)
with tempfile.TemporaryDirectory() as temporary:
    place = pathlib.Path(temporary)
    for name, config in configs.items():
        model = randomize(AutoModelForSequenceClassification.from_config(config))
        model.save_pretrained(place / "model")
        types = getattr(config, "type_vocab_size", 1)
        texts = [{"ids": random.choices(range(2, 200), k=n), "types": sorted(random.choices(range(types), k=n))} for n in [1, 2, 64, *random.choices(range(3, 65), k=37)]]
        hidden, pooled = [], []
        with torch.no_grad():
            for text in texts:
                extra = {} if config.model_type == "distilbert" else dict(token_type_ids=torch.tensor([text["types"]]))
                out = model.base_model(input_ids=torch.tensor([text["ids"]]), **extra)
                hidden.append(out.last_hidden_state[0])
                pooled.append(pooled_by_head(model, out))
        found = found_here(place / "model", "pooler", texts, place)
        compare(f"{name}, hidden states", found["hidden"], torch.cat(hidden))
        compare(f"{name}, pooled", found["pooled"], torch.cat(pooled))

    base = os.environ["LORASB_MINILM_DIR"]
    model, tokenizer = AutoModel.from_pretrained(base).eval(), AutoTokenizer.from_pretrained(base)
    tokenizer.model_max_length = 512
    words = """the a small red house river engine München naïve café Straße œuvre España señor łódź čeština ελληνικά μήνυμα русский язык მშვიდობა
               שלום عربي हिन्दी ไทย 東京 日本語 中文 한국어 don't 3.14 #hash 😀 e\u0301 ﬁne İstanbul x""".split()
    texts, hidden, pooled = [], [], []
    with torch.no_grad():
        for i in range(200):
            text = " ".join(random.choices(words, k=1 + i * i // 90))  # 1 to 440 words, beyond the limit of tokens
            inputs = tokenizer(text, truncation=True, return_tensors="pt")
            out = model(**inputs).last_hidden_state[0]
            texts.append({"ids": inputs["input_ids"][0].tolist(), "types": inputs["token_type_ids"][0].tolist()})
            hidden.append(out)
            pooled.append(torch.nn.functional.normalize(out.mean(0), dim=0)[None])
    found = found_here(base, "mean", texts, place)
    lengths = [len(t["ids"]) for t in texts]
    compare(f"MiniLM, hidden states of texts of {min(lengths)} to {max(lengths)} tokens", found["hidden"], torch.cat(hidden))
    compare("MiniLM, vectors", found["pooled"], torch.cat(pooled))
sys.exit(failed > 0)
