# Writes golden adapter folders with numpy alone, as PEFT 0.13 and the authors of LoRA-XS and LoRA-SB write them, and what they
# add to each weight: python3 peft_folders.py. Made with Python 3.11, numpy 1.24.2.
# With folders as arguments it prints what a reader of plain LoRA, or of R when there is one, adds to each weight.
import json, os, re, struct, sys
import numpy as np

P = "base_model.model."


def write_tensors(path, tensors, metadata):
    order = sorted(tensors, key=lambda n: (-tensors[n].itemsize, n))
    header, data = {"__metadata__": metadata}, b""
    for name in order:
        raw = np.ascontiguousarray(tensors[name]).tobytes()
        dtype = {"float32": "F32", "float64": "F64", "uint16": "BF16"}[str(tensors[name].dtype)]
        header[name] = {"dtype": dtype, "shape": list(tensors[name].shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    open(path, "wb").write(struct.pack("<Q", len(text)) + text + data)


def read_tensors(path):
    raw = open(path, "rb").read()
    size = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8:8 + size])
    header.pop("__metadata__", {})
    types = {"F32": "<f4", "F64": "<f8"}
    data = raw[8 + size:]
    return {n: np.frombuffer(data[slice(*t["data_offsets"])], types[t["dtype"]]).reshape(t["shape"]) for n, t in header.items()}


def pattern(config, key, module, default):
    """PEFT, utils/other.py, get_pattern_key."""
    for k, value in config.get(key, {}).items():
        if re.match(rf"(.*\.)?({k})$", module):
            return value
    return default


def added(folder):
    """module -> (alpha / r) B [R] A, in double."""
    config = json.load(open(os.path.join(folder, "adapter_config.json")))
    tensors = read_tensors(os.path.join(folder, "adapter_model.safetensors"))
    result = {}
    for name in sorted(tensors):
        if not name.endswith(".lora_A.weight"):
            continue
        module = name[len(P):-len(".lora_A.weight")]
        B, A = (tensors[P + module + s].astype("f8") for s in (".lora_B.weight", ".lora_A.weight"))
        r = pattern(config, "rank_pattern", module, config["r"])
        assert A.shape[0] == r == B.shape[1], (module, A.shape, r)
        alpha = pattern(config, "alpha_pattern", module, config["lora_alpha"])
        scale = alpha / (r ** 0.5 if config.get("use_rslora") else r)
        for suffix in (".default_lora_latent_mapping.weight", "_lora_latent_mapping.weight"):
            if P + module + suffix in tensors:
                B = B @ tensors[P + module + suffix].astype("f8")
        result[module] = scale * B @ A
    return result


def write_folder(folder, tensors, metadata={"format": "pt"}, **config):
    os.makedirs(folder, exist_ok=True)
    write_tensors(os.path.join(folder, "adapter_model.safetensors"), tensors, metadata)
    full = {"alpha_pattern": {}, "auto_mapping": None, "base_model_name_or_path": "some/model", "bias": "none",
            "fan_in_fan_out": False, "inference_mode": True, "init_lora_weights": True, "layers_pattern": None,
            "layers_to_transform": None, "lora_dropout": 0.05, "modules_to_save": None, "peft_type": "LORA", "rank_pattern": {},
            "revision": None, "task_type": "SEQ_CLS", "use_dora": False, "use_rslora": False, **config}
    with open(os.path.join(folder, "adapter_config.json"), "w") as f:
        f.write(json.dumps(full, indent=2, sort_keys=True) + "\n")


if len(sys.argv) > 1:
    for folder in sys.argv[1:]:
        for module, delta in added(folder).items():
            print(folder, module, delta.shape, repr(delta.ravel()[:4].tolist()))
    sys.exit()

here = os.path.dirname(os.path.abspath(__file__))
rng = np.random.default_rng(7)
q, v = "encoder.0.attention.query", "encoder.0.attention.value"
random = lambda *shape: rng.standard_normal(shape).astype("f4")
lora = {P + q + ".lora_A.weight": random(2, 5), P + q + ".lora_B.weight": random(4, 2),
        P + v + ".lora_A.weight": random(2, 5), P + v + ".lora_B.weight": random(3, 2)}
R = [random(2, 2), random(2, 2)]
head = {P + "classifier.weight": random(3, 4), P + "classifier.bias": random(3)}
common = dict(r=2, lora_alpha=3, target_modules=["query", "value"])
folders = {
    # R as a parameter of PEFT's model, the name of the adapter stripped
    "stripped": (dict(lora, **{P + q + "_lora_latent_mapping.weight": R[0],
                               P + v + "_lora_latent_mapping.weight": R[1]}), common),
    # R as a submodule, with a head
    "submodule": (dict(lora, **head, **{P + q + ".default_lora_latent_mapping.weight": R[0],
                                        P + v + ".default_lora_latent_mapping.weight": R[1]}),
                  dict(common, modules_to_save=["classifier"])),
    # plain LoRA in bfloat16, with another rank and alpha for one module and the scale of rsLoRA
    "plain": ({**{k: (x.view("<u4") >> 16).astype("<u2") for k, x in lora.items() if q in k},
               P + v + ".lora_A.weight": random(3, 5), P + v + ".lora_B.weight": random(3, 3)},
              dict(r=2, lora_alpha=3, target_modules="all-linear", use_rslora=True,
                   rank_pattern={"^encoder.0.attention.value": 3}, alpha_pattern={"attention.value": 7.5})),
}
deltas = {}
for name, (tensors, config) in folders.items():
    write_folder(os.path.join(here, name), tensors, **config)
    if name == "plain":  # `added` reads no bfloat16
        tensors = {k: (x.astype("<u4") << 16).view("<f4") if x.dtype == "uint16" else x for k, x in tensors.items()}
        result = {m: s * tensors[P + m + ".lora_B.weight"].astype("f8") @ tensors[P + m + ".lora_A.weight"].astype("f8")
                  for m, s in ((q, 3 / 2 ** 0.5), (v, 7.5 / 3 ** 0.5))}
    else:
        result = added(os.path.join(here, name))
    deltas.update({f"{name}/{m}": d for m, d in result.items()})
write_tensors(os.path.join(here, "deltas.safetensors"), deltas, {"format": "np"})
