# Writes the golden safetensors files with numpy alone: python3 safetensors_numpy.py. Made with Python 3.11, numpy 1.24.2.
# With file names as arguments it reads these instead and prints name, type, shape and the sum of each tensor.
import json, os, struct, sys
import numpy as np

TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "U8": "u1", "BF16": "<u2"}


def write(path, tensors, metadata=None, pad=True):
    """tensors: (name, type, array), in the order of their bytes."""
    header, data = {}, b""
    if metadata:
        header["__metadata__"] = metadata
    for name, dtype, array in tensors:
        raw = np.ascontiguousarray(array, TYPES[dtype]).tobytes()
        header[name] = {"dtype": dtype, "shape": list(np.shape(array)), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8 if pad else 0)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + data)


def read(path):
    raw = open(path, "rb").read()
    size = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8:8 + size])
    metadata = header.pop("__metadata__", {})
    tensors = {}
    for name, t in header.items():
        begin, end = (8 + size + x for x in t["data_offsets"])
        tensors[name] = np.frombuffer(raw[begin:end], TYPES[t["dtype"]]).reshape(t["shape"])
    return metadata, tensors


if len(sys.argv) > 1:
    for path in sys.argv[1:]:
        metadata, tensors = read(path)
        print(path, metadata)
        for name, array in tensors.items():
            print(" ", name, array.dtype, array.shape, array.sum())
else:
    here = os.path.dirname(os.path.abspath(__file__))
    numbers = np.arange(12).reshape(3, 4) / 8 - 0.5
    bfloat16 = numbers.astype("<f4").view("<u4") >> 16  # exact: the numbers have few bits
    # As the reference implementation orders it (wide types first, then names), padded: our writer gives the same bytes.
    write(os.path.join(here, "ordered.safetensors"),
          [("a.double", "F64", numbers), ("b.double", "F64", np.float64(np.pi)), ("long", "I64", [[-1, 2**40]]),
           ("Grüße", "F32", numbers[0]), ("empty", "F32", np.zeros((0, 4))), ("weight", "F32", numbers),
           ("bytes", "U8", [0, 127, 255])], {"format": "pt", "note": "line\nbreak"})
    # In another order, without padding: numbers at odd addresses.
    write(os.path.join(here, "unpadded.safetensors"),
          [("three", "U8", [1, 2, 3]), ("f16", "F16", numbers), ("bf16", "BF16", bfloat16), ("f32", "F32", numbers),
           ("f64", "F64", numbers)], pad=False)
