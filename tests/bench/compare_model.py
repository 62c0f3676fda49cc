"""Stages of the SD 1.5 shape side by side: libldm against PyTorch eager and OpenVINO (where installed), both fp32, two
threads, runs alternating, medians with their spread.

    compare_model.py BENCH_MODEL FOLDER OUT [--runs N] [--only predict:64,decode:64,...]    writes OUT.json, OUT.md
"""
import argparse
import os
import subprocess
import time

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from measure import THREADS, cell, environment, machine, spread, table, write
from transformers import CLIPTextModel

SIGNS = {"text": "τ_θ, 77 tokens", "predict": "ε_θ, {0}×{0} latent", "encode": "ℰ, {0}×{0} pixels",
         "decode": "𝒟, {0}×{0} latent"}
PAUSE = 0.5  # s; threads of the one before may wait for more work without sleeping


class Libldm:
    """The C library behind a pipe."""
    name = "libldm"

    def __init__(self, program, folder):
        self.process = subprocess.Popen([program, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env=environment())
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

    def stage(self, stage, size):
        """The network of a stage as a module, and its input."""
        generator = torch.Generator().manual_seed(1)
        if stage == "text":
            return Output(self.text), (torch.full((1, 77), 320),)
        noise = torch.randn(1, 3 if stage == "encode" else 4, size, size, generator=generator)
        if stage == "predict":
            return Output(self.unet), (noise, torch.tensor(500.0), torch.randn(1, 77, 768, generator=generator))
        if stage == "encode":
            return torch.nn.Sequential(self.vae.encoder, self.vae.quant_conv), (noise,)
        return torch.nn.Sequential(self.vae.post_quant_conv, self.vae.decoder), (noise,)

    @torch.no_grad()
    def run(self, stage, size):
        module, inputs = self.stage(stage, size)
        start = time.monotonic()
        module(*inputs)
        return time.monotonic() - start


class Output(torch.nn.Module):
    """A network that returns its first output only."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, *inputs):
        return self.network(*inputs, return_dict=False)[0]


class OpenVino:
    """OpenVINO's CPU plug-in, fp32, each stage converted from PyTorch and compiled for its size."""
    name = "OpenVINO"

    def __init__(self, reference):
        self.reference, self.compiled, self.load_seconds = reference, {}, 0.0

    def compile(self, stage, size):
        import openvino
        start = time.monotonic()
        module, inputs = self.reference.stage(stage, size)
        with torch.no_grad():
            model = openvino.convert_model(module, example_input=inputs, input=[list(x.shape) for x in inputs])
        network = openvino.Core().compile_model(model, "CPU", {"INFERENCE_NUM_THREADS": THREADS,
                                                               "INFERENCE_PRECISION_HINT": "f32"})
        self.load_seconds += time.monotonic() - start
        return network, [x.numpy() for x in inputs]

    def run(self, stage, size):
        if (stage, size) not in self.compiled:
            self.compiled = {(stage, size): self.compile(stage, size)}  # one at a time: they are large
        network, inputs = self.compiled[stage, size]
        start = time.monotonic()
        network(inputs)
        return time.monotonic() - start


def engines(options):
    """libldm first; every other one is compared with it."""
    found = [Libldm(options.program, options.folder), Torch(options.folder)]
    try:
        import openvino  # noqa: F401
        found.append(OpenVino(found[1]))
    except ImportError:
        print("OpenVINO is not installed; without it", flush=True)
    return found


def measure(engine_list, stage, size, runs):
    times = {engine.name: [] for engine in engine_list}
    for run in range(runs + 1):
        for engine in engine_list:
            time.sleep(PAUSE)
            seconds = engine.run(stage, size)
            if run > 0:  # the first warms up
                times[engine.name].append(seconds)
    row = {"stage": stage, "size": size, **{name: spread(values) for name, values in times.items()}}
    ours = row["libldm"]["median"]
    row["ratio"] = {name: ours / row[name]["median"] for name in times if name != "libldm"}
    return row


def table_of(rows, names):
    head = ["stage", *(f"{name}, s" for name in names), *(f"ours / {name}" for name in names[1:])]
    return table(head, [[SIGNS[row["stage"]].format(row["size"]), *(cell(row[name]) for name in names),
                         *(f"{row['ratio'][name]:.2f}" for name in names[1:])] for row in rows])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("folder")
    parser.add_argument("out")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", help="stages and sizes",
                        default="text:0,predict:32,predict:64,predict:96,encode:512,decode:64")
    options = parser.parse_args()
    items = [(stage, int(size)) for stage, size in (item.split(":") for item in options.only.split(","))]
    engine_list = engines(options)
    names, rows = [engine.name for engine in engine_list], []
    for stage, size in items:
        rows.append(measure(engine_list, stage, size, options.runs))
        print(table_of(rows[-1:], names).split("\n")[2], flush=True)
    peak, load = engine_list[0].peak, {engine.name: engine.load_seconds for engine in engine_list}
    text = (f"{machine()}, fp32; {options.runs} runs each, in turn.\n\n{table_of(rows, names)}\n\nPeak memory of libldm "
            f"over all stages: {peak:.0f} MB. Loading: " + ", ".join(f"{n} {s:.2f} s" for n, s in load.items()) + ".")
    write(options.out, text, {"rows": rows, "load": load, "peak_mb": peak})


if __name__ == "__main__":
    main()
