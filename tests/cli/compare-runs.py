"""compare-runs.py RUN RUN LAST: the first step's gradients (its first moments), the losses and at last the weights of
two training runs, tensor by tensor."""
import json
import struct
import sys
from pathlib import Path

import numpy as np

GRADIENTS, WEIGHTS, LOSSES = 1e-5, 1e-4, 3e-5  # relative
# Of a discriminator, whose gradients by real and by made pictures all but cancel: one process that takes the same batch
# in two passes differs as much.
OPPOSED = 1e-4


def load(run, step):
    data = (Path(run) / f"checkpoints/step-{step:010d}.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    return {
        name: np.frombuffer(data, "<f4", (end - begin) // 4, 8 + length + begin).astype(float)
        for name, (begin, end) in ((name, entry["data_offsets"]) for name, entry in header.items())
    }


def compare(one, other, step, kind, limit):
    a, b = load(one, step), load(other, step)
    names = [name for name in a if name.startswith(kind)]
    if kind != "moment1/":  # Adam's first steps follow the sign of what is rounding, too
        names = [name for name in names if "/discriminator/" not in name and not name.endswith("to_k.bias")]
    # what is nothing but rounding: the gradient of a key's bias, for one, of which Adam makes whole steps
    floor = 1e-6 * max(np.linalg.norm(a[name]) for name in names)
    for name in names:
        distance = np.linalg.norm(a[name] - b[name])
        own = max(limit, OPPOSED) if "/discriminator/" in name else limit
        if max(distance, np.linalg.norm(a[name])) > floor and not distance <= own * np.linalg.norm(a[name]):
            sys.exit(f"{name}: {distance} from {np.linalg.norm(a[name])}")


first, second, last = sys.argv[1], sys.argv[2], int(sys.argv[3])
compare(first, second, 1, "moment1/", GRADIENTS)
compare(first, second, last, "weight/", WEIGHTS)
compare(first, second, last, "ema/", WEIGHTS)
curves = [[json.loads(line)["loss"] for line in open(f"{run}/log.jsonl")] for run in (first, second)]
if len(curves[0]) != last or not np.allclose(*curves, rtol=LOSSES, atol=0):
    sys.exit(f"losses {curves}")
