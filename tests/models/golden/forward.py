"""The forward pass of the Universal Sentence Encoder Lite in NumPy, straight from the graph in model.json, against embeddings.json.

python3 forward.py MODEL_PACKAGE embeddings.json
"""
import json
import os
import sys

import numpy as np

package, golden = sys.argv[1:]
dist = os.path.join(package, "dist")
manifest = json.load(open(os.path.join(dist, "model.json")))["weightsManifest"][0]
raw = b"".join(open(os.path.join(dist, p), "rb").read() for p in manifest["paths"])
tensors, at = {}, 0
for entry in manifest["weights"]:
    count = int(np.prod(entry["shape"], dtype=int))
    dtype = {"float32": "<f4", "int32": "<i4"}[entry["dtype"]]
    tensors[entry["name"]] = np.frombuffer(raw, dtype, count, at).reshape(entry["shape"])
    at += 4 * count
assert at == len(raw)


def weight(dtype, *ends):
    """The one tensor whose name holds all of `ends`."""
    found = [n for n in tensors if all(e in n for e in ends)]
    assert len(found) == 1, (ends, found)
    t = tensors[found[0]]
    return t.reshape(t.shape[-2:]).astype(dtype) if t.ndim == 4 else t.astype(dtype)


def norm(x, scale, bias):
    centred = x - x.mean(axis=1, keepdims=True)
    return scale / np.sqrt((centred**2).mean(axis=1, keepdims=True) + x.dtype.type(1e-6)) * centred + bias


def embed(ids, dtype):
    w = lambda *ends: weight(dtype, *ends)
    ids = ids[:128]
    angle = np.arange(len(ids), dtype=dtype)[:, None] * w("TimingSignal/ExpandDims_1")
    x = 2 * w("Embeddings_en")[ids] + np.concatenate([np.sin(angle), np.cos(angle)], axis=1)
    for layer in ("Layer_0/", "Layer_1/"):
        part = layer + "TransformerLayer/"
        residual = x @ w(part + "dense/kernel") + w(part + "dense/bias") if layer == "Layer_0/" else x
        h = norm(x, w(part + "layer_prepostprocess", "scale"), w(part + "layer_prepostprocess", "norm_bias"))
        q, k, v = np.split(h @ w(part, "qkv_transform_single/kernel") + w(part, "qkv_transform_single/bias"), 3, axis=1)
        width = q.shape[1] // 4
        heads = []
        for i in range(4):
            part_of = slice(i * width, (i + 1) * width)
            logits = (q[:, part_of] * dtype(width**-0.5)) @ k[:, part_of].T
            p = np.exp(logits - logits.max(axis=1, keepdims=True))
            heads.append(p / p.sum(axis=1, keepdims=True) @ v[:, part_of])
        x = residual + np.concatenate(heads, axis=1) @ w(part, "output_transform_single/kernel") + w(
            part, "output_transform_single/bias"
        )
        h = norm(x, w(part + "FFN/layer_prepostprocess", "scale"), w(part + "FFN/layer_prepostprocess", "norm_bias"))
        h = np.maximum(h @ w(part + "FFN/conv1/Tensordot/Reshape_1") + w(part + "FFN/conv1/bias"), 0)
        x = x + h @ w(part + "FFN/conv2/Tensordot/Reshape_1") + w(part + "FFN/conv2/bias")
    y = np.tanh(x.mean(axis=0) @ w("tanh_layer_0/weights") + w("tanh_layer_0/bias"))
    return y / np.sqrt(max((y**2).sum(), dtype(1e-12)))


data = json.load(open(golden))
for dtype in (np.float32, np.float64):
    worst = max(np.abs(embed(row["ids"], dtype) - row["embedding"]).max() for row in data["texts"])
    print(f"{dtype.__name__}: largest difference {worst:.2e}")
    by_text = {row["text"]: row["ids"] for row in data["texts"]}
    for row in data["published"]:
        worst = np.abs(embed(by_text[row["text"]], dtype)[: len(row["first"])] - row["first"]).max()
        print(f"{dtype.__name__}: published numbers, largest difference {worst:.2e}: {row['text']}")
