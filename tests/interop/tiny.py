"""Tiny random encoders of every family with a tokenizer, and lorasb-finetune run on them: what several checks share."""
import json
import pathlib
import random
import subprocess
import sys

import torch
from transformers import (BertConfig, BertModel, DistilBertConfig, DistilBertModel, PreTrainedTokenizerFast, RobertaConfig, RobertaModel,
                          RobertaPreLayerNormConfig, RobertaPreLayerNormModel, XLMRobertaConfig, XLMRobertaModel, logging)

logging.set_verbosity_error()
logging.disable_progress_bar()
torch.set_num_threads(1)  # tiny products
program = pathlib.Path(sys.argv[1]) / "examples" / "lorasb-finetune"
golden = pathlib.Path(__file__).parent.parent / "text" / "golden"
words = "the quick brown fox jumps over lazy dog naive café resume 2024 don't we they're in, cab bad! é 中文 x 😀".split()

sizes = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=40, max_position_embeddings=64, initializer_range=0.2)
roberta = dict(vocab_size=341, type_vocab_size=1, pad_token_id=1, bos_token_id=0, eos_token_id=2, **sizes)
bases = {  # name: model without a head, tokenizer, linear modules that PEFT adapts, modules that it saves
    "BERT": (lambda: BertModel(BertConfig(vocab_size=96, **sizes)), "wordpiece", ["query", "value", "pooler.dense"], ["classifier"]),
    "BERT without a pooler": (lambda: BertModel(BertConfig(vocab_size=96, **sizes), add_pooling_layer=False), "wordpiece", ["query", "value"],
                              ["classifier", "pooler.dense"]),
    "BERT with its words": (lambda: BertModel(BertConfig(vocab_size=96, hidden_act="gelu_new", **sizes)), "wordpiece", ["query", "key"],
                            ["classifier", "word_embeddings"]),
    "RoBERTa": (lambda: RobertaModel(RobertaConfig(**roberta)), "byte_bpe", ["query", "value"], None),
    "XLM-RoBERTa": (lambda: XLMRobertaModel(XLMRobertaConfig(**roberta)), "unigram", ["query", "output.dense"], None),
    "RoBERTa-PreLayerNorm": (lambda: RobertaPreLayerNormModel(RobertaPreLayerNormConfig(**roberta)), "byte_bpe", ["query", "intermediate.dense"], None),
    "DistilBERT": (lambda: DistilBertModel(DistilBertConfig(vocab_size=96, dim=32, n_layers=2, n_heads=4, hidden_dim=40, max_position_embeddings=64,
                                                            initializer_range=0.2)), "wordpiece", ["q_lin", "v_lin"], ["pre_classifier", "classifier"]),
}
failed = 0


def some_texts(count, most):
    return [" ".join(random.choices(words, k=random.randint(1, most))) for _ in range(count)]


def report(good, what):
    global failed
    failed += not good
    print(f"  {'ok  ' if good else 'FAIL'} {what}")


def run(*arguments):
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip())
    return done.stdout


def predicted(*arguments):
    """What --predict prints, a dictionary for each line."""
    return [json.loads(line) for line in run(*arguments, "--json").splitlines()]


def write_base(base, name, make, kind):
    """The folder of a model without a head; returns its tokenizer."""
    torch.manual_seed(5)
    make().eval().save_pretrained(base)
    specials = dict(pad_token="<pad>", unk_token="<unk>", bos_token="<s>", eos_token="</s>", mask_token="<mask>") if kind != "wordpiece" else dict(
        pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]", mask_token="[MASK]")
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(golden / f"{kind}_tokenizer.json"), model_max_length=60, **specials)
    types = ["token_type_ids"] if name.startswith("BERT") else []
    tokenizer.model_input_names = ["input_ids", *types, "attention_mask"]
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.save_pretrained(base)
    return tokenizer


def outputs(model, tokenizer, texts):
    """Logits, one text at a time: nothing is padded."""
    model.eval()
    with torch.no_grad():
        return torch.cat([model(**tokenizer(t, return_tensors="pt")).logits.double() for t in texts])
