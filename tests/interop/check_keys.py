"""The table of keys in docs/formats.md against the installed PEFT, and every row of it against the reader.

    python check_keys.py BUILD_FOLDER
"""
import json
import pathlib
import re
import subprocess
import sys
import tempfile

from peft import LoraConfig, __version__

build, page = pathlib.Path(sys.argv[1]), pathlib.Path(__file__).parents[2] / "docs" / "formats.md"
program = build / "tests" / "interop_folders"
section = page.read_text().split("### Keys of PEFT's LoraConfig")[1].split("\n### ")[0]
table = {key: (default, use) for key, default, use in re.findall(r"^\| `(\w+)` \| (.+?) \| (\w+) \|", section, re.M)}
failed = 0


def check(holds, words):
    global failed
    failed += not holds
    print(f"  {'ok  ' if holds else 'FAIL'} {words}")


with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    LoraConfig().save_pretrained(folder / "defaults")
    written = json.loads((folder / "defaults" / "adapter_config.json").read_text())
    check(set(written) == set(table), f"PEFT {__version__} writes {len(written)} keys, the table has {len(table)}; "
          f"only PEFT: {sorted(set(written) - set(table))}, only the table: {sorted(set(table) - set(written))}")
    defaults = {key: default.strip("`") for key, (default, use) in table.items() if default != "the version"}
    others = [f"{key} is {json.dumps(written.get(key))}" for key, default in defaults.items()
              if key != "inference_mode" and json.loads(default) != written.get(key)]  # save_pretrained sets that one
    check(not others, f"the defaults are those of the table: {others}")

    subprocess.run([program, "write", folder], check=True)
    config = folder / "lora" / "adapter_config.json"
    plain = json.loads(config.read_text())
    # a value that means something, where "something" alone would not do
    values = {"inference_mode": False, "lora_dropout": 0.5, "bias": "all", "qalora_group_size": 3, "loftq_config": {"loftq_bits": 4}, "layer_replication": [[0, 1]],
              "trainable_token_indices": [1], "target_parameters": ["experts.weight"], "alora_invocation_tokens": [5]}
    flags = {"ensure_weight_tying", "lora_bias", "use_dora", "use_qalora", "use_bdlora"}

    def read(**changed):
        config.write_text(json.dumps(plain | changed))
        run = subprocess.run([program, "check", folder / "lora"], capture_output=True, text=True)
        return run.returncode == 0, run.stderr.strip()

    for key, (default, use) in table.items():
        if use == "read":
            continue
        good, words = read(**{key: values.get(key, True if key in flags else {"x": 1} if key.endswith("_config") else "something")})
        check(good == (use == "harmless") and (good or key in words), f"{key} is {use}: {'read' if good else words[:160]}")
        if use == "inactive":
            check(read(**{key: written.get(key)})[0], f"{key} at its default is read")
    # what is read changes what comes out, or is refused where it cannot
    for changed, holds in [(dict(peft_type="LOHA"), False), (dict(init_lora_weights="pissa"), False), (dict(init_lora_weights="gaussian"), True),
                           (dict(r=9, rank_pattern={}), False), (dict(exclude_modules=["first", "second"]), False), (dict(exclude_modules=["first"]), True),
                           (dict(target_modules=["none"]), False), (dict(target_modules="all-linear"), True), (dict(modules_to_save=["score"]), True),
                           (dict(rank_pattern={"first": 1}), False), (dict(new_key="something"), False), (dict(new_key=None), True)]:
        good, words = read(**changed)
        check(good == holds, f"{changed}: {'read' if good else words[:160]}")
print(f"  {len(table)} keys, {failed} failures")
sys.exit(failed > 0)
