"""Stages of the SD 1.5 shape side by side: libldm against PyTorch eager (and OpenVINO where installed), two threads,
runs alternating, medians with their spread, results compared.

    compare.py BENCH_MODEL FOLDER OUT.json [--runs N] [--stages predict:64,decode:64,...]
"""
import argparse
import json
import os
import statistics
import subprocess
import time

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextModel

THREADS = 2


class Libldm:
    """The C library behind a pipe."""
    name = "libldm"

    def __init__(self, program, folder):
        environment = dict(os.environ, PENTIMENTO_THREADS=str(THREADS))
        self.process = subprocess.Popen([program, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env=environment)
        self.load_seconds, self.peak = self.answer()

    def answer(self):
        line = self.process.stdout.readline().split()
        if len(line) != 2:
            raise SystemExit("bench-model ended early")
        return float(line[0]), int(line[1]) / 1024

    def run(self, stage, size):
        self.process.stdin.write(f"{stage} {size}\n")
        self.process.stdin.flush()
        seconds, self.peak = self.answer()
        return seconds


class Torch:
    """PyTorch eager, fp32."""
    name = "PyTorch"

    def __init__(self, folder):
        torch.set_num_threads(THREADS)
        start = time.monotonic()
        self.unet = UNet2DConditionModel.from_pretrained(folder, subfolder="unet").float().eval()
        self.vae = AutoencoderKL.from_pretrained(folder, subfolder="vae").float().eval()
        self.text = CLIPTextModel.from_pretrained(os.path.join(folder, "text_encoder")).float().eval()
        self.load_seconds = time.monotonic() - start

    @torch.no_grad()
    def run(self, stage, size):
        generator = torch.Generator().manual_seed(1)
        noise = torch.randn(1, 3 if stage == "encode" else 4, size or 1, size or 1, generator=generator)
        start = time.monotonic()
        if stage == "predict":
            context = torch.randn(1, 77, 768, generator=generator)
            start = time.monotonic()
            self.unet(noise, 500, context)
        elif stage == "encode":
            self.vae.encode(noise)
        elif stage == "decode":
            self.vae.decode(noise)
        else:
            self.text(torch.full((1, 77), 320))
        return time.monotonic() - start


def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "runs": len(values)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("folder")
    parser.add_argument("out")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--stages", default="text:0,predict:32,predict:64,encode:512,decode:64")
    options = parser.parse_args()
    engines = [Libldm(options.program, options.folder), Torch(options.folder)]
    rows = []
    for item in options.stages.split(","):
        stage, size = item.split(":")
        times = {engine.name: [] for engine in engines}
        for run in range(options.runs + 1):
            for engine in engines:
                seconds = engine.run(stage, int(size))
                if run > 0:  # the first warms up
                    times[engine.name].append(seconds)
        row = {"stage": stage, "size": int(size), **{name: spread(values) for name, values in times.items()}}
        row["ratio"] = row["libldm"]["median"] / row["PyTorch"]["median"]
        rows.append(row)
        print(f"{stage:8} {size:>4}   libldm {row['libldm']['median']:7.3f} s"
              f" ({row['libldm']['min']:.3f}-{row['libldm']['max']:.3f})   PyTorch {row['PyTorch']['median']:7.3f} s"
              f" ({row['PyTorch']['min']:.3f}-{row['PyTorch']['max']:.3f})   ratio {row['ratio']:.2f}"
              f"   peak {engines[0].peak:.0f} MB", flush=True)
    print(f"load     libldm {engines[0].load_seconds:.3f} s   PyTorch {engines[1].load_seconds:.3f} s")
    with open(options.out, "w") as f:
        json.dump({"threads": THREADS, "rows": rows, "load": {e.name: e.load_seconds for e in engines},
                   "peak_mb": engines[0].peak}, f, indent=1)


if __name__ == "__main__":
    main()
