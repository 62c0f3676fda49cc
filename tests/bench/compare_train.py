"""Training steps (forward, backward, AdamW) of UNets: libldm against PyTorch eager, both fp32, and with --bf16 libldm's
bf16 and PyTorch's autocast, with its fused attention and with plain attention (whose way back is faster in bf16), steps
alternating, two threads, medians with their spread, of processor time as well, which says more where the machine has other work; each
in a process of its own for its peak memory. Weights and inputs are the same ones, so the losses of every step are compared.

    compare_train.py BENCH_TRAIN MADE DEFAULT OUT [--runs N] [--only 36m,default] [--bf16]    writes OUT.json, OUT.md
    compare_train.py --torch FOLDER BATCH SIDE TOKENS MODE                     the other engine (internal)
"""
import argparse
import json
import os
import shutil
import subprocess
import sys
import time

from measure import THREADS, cell, environment, machine, spread, table, write

BIG = dict(sample_size=32, in_channels=4, out_channels=4, layers_per_block=2, cross_attention_dim=256,
           block_out_channels=(96, 192, 288), attention_head_dim=8,
           down_block_types=("DownBlock2D",) + ("CrossAttnDownBlock2D",) * 2,
           up_block_types=("CrossAttnUpBlock2D",) * 2 + ("UpBlock2D",))
AUTOENCODER = dict(down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
                   block_out_channels=(32,) * 4)
MODELS = {"36m": (16, 32, 32), "default": (32, 16, 77)}  # batch, side of the latent, tokens


def make(folder):
    """A diffusers folder of the 36 M UNet with random weights; the autoencoder in it is only there to be complete."""
    import torch
    from diffusers import AutoencoderKL, UNet2DConditionModel
    if os.path.isdir(folder):
        return
    torch.manual_seed(0)
    part = folder + ".part"
    shutil.rmtree(part, ignore_errors=True)
    UNet2DConditionModel(**BIG).save_pretrained(os.path.join(part, "unet"))
    AutoencoderKL(**AUTOENCODER).save_pretrained(os.path.join(part, "vae"))
    os.rename(part, folder)


def peak_kilobytes():
    with open("/proc/self/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmHWM:"))


def torch_engine(folder, batch, side, tokens, mode):
    """The same conversation as bench-train's. After the first step it looks for parameters without a gradient: a fast way
    that leaves some out is none."""
    import contextlib
    import torch
    from diffusers import UNet2DConditionModel
    from diffusers.models.attention_processor import AttnProcessor
    torch.set_num_threads(THREADS)
    start = time.monotonic()
    unet = UNet2DConditionModel.from_pretrained(folder, subfolder="unet").float().train()
    optimiser = torch.optim.AdamW(unet.parameters(), lr=1e-4, weight_decay=0.01, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 1000)
    generator = torch.Generator().manual_seed(1)
    config = unet.config
    if mode == "bf16 plain":
        unet.set_attn_processor(AttnProcessor())

    def precision():
        return torch.autocast("cpu", torch.bfloat16) if mode != "f32" else contextlib.nullcontext()

    def noise(*shape):
        return torch.randn(*shape, generator=generator)

    x = noise(batch, side, side, config.in_channels).permute(0, 3, 1, 2).contiguous()
    context = noise(batch, tokens, config.cross_attention_dim)
    target = noise(batch, side, side, config.out_channels).permute(0, 3, 1, 2).contiguous()
    timesteps = torch.tensor([i * 999 // batch for i in range(batch)])
    print(time.monotonic() - start, peak_kilobytes(), 0, time.process_time(), flush=True)
    checked = False
    for _ in sys.stdin:
        start, spent = time.monotonic(), time.process_time()
        with precision():
            y = unet(x, timesteps, context, return_dict=False)[0]
        loss = torch.nn.functional.mse_loss(y.float(), target)
        loss.backward()
        if not checked:
            checked = True
            dead = [name for name, p in unet.named_parameters() if p.grad is None or not p.grad.any()]
            if dead:
                raise SystemExit(f"PyTorch {mode}: no gradient: {', '.join(dead)}")
        optimiser.step()
        optimiser.zero_grad()
        schedule.step()
        print(time.monotonic() - start, peak_kilobytes(), loss.item(), time.process_time() - spent, flush=True)


class Engine:
    """Either, behind a pipe."""

    def __init__(self, name, command):
        self.name, self.times, self.losses, self.spent, self.peak = name, [], [], [], 0
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env=environment())
        self.answer()

    def answer(self):
        line = self.process.stdout.readline().split()
        if len(line) != 4:
            raise SystemExit(f"{self.name} ended early")
        self.peak = int(line[1]) / 1024
        return float(line[0]), float(line[2]), float(line[3])

    def step(self):
        self.process.stdin.write("step\n")
        self.process.stdin.flush()
        seconds, loss, spent = self.answer()
        self.times.append(seconds)
        self.losses.append(loss)
        self.spent.append(spent)

    def result(self):
        self.process.stdin.close()
        self.process.wait()
        times = self.times[1:]  # the first warms up
        return {**spread(times), "peak_mb": self.peak, "losses": self.losses, "processor": spread(self.spent[1:])}


def engines_of(program, model, folder, bf16):
    sizes = [str(n) for n in MODELS[model]]
    other = [sys.executable, os.path.abspath(__file__), "--torch", folder, *sizes]
    engines = [Engine("libldm", [program, folder, *sizes]), Engine("PyTorch", [*other, "f32"])]
    if bf16:
        engines += [Engine("libldm bf16", [program, folder, *sizes, "bf16"])]
        engines += [Engine(f"PyTorch {mode}", [*other, mode]) for mode in ("bf16", "bf16 plain")]
    return engines


def measure(program, model, folder, runs, bf16):
    engines = engines_of(program, model, folder, bf16)
    for _ in range(runs + 1):
        for engine in engines:
            engine.step()
    row = {"model": model, "batch": MODELS[model][0], "side": MODELS[model][1]}
    row.update({engine.name: engine.result() for engine in engines})
    row["speed"] = row["PyTorch"]["median"] / row["libldm"]["median"]
    row["cost"] = row["PyTorch"]["processor"]["median"] / row["libldm"]["processor"]["median"]
    row["loss_difference"] = apart(row["libldm"], row["PyTorch"])
    if bf16:
        for engine in engines:
            row[engine.name]["loss_difference"] = apart(row[engine.name], row["libldm"])
    return row


def apart(one, other):
    return max(abs(a / b - 1) for a, b in zip(one["losses"], other["losses"]))


MODE_HEAD = ["UNet", "engine", "step, s", "processor s", "steps of libldm bf16 in one", "peak MB", "losses apart from libldm's fp32"]


def mode_cells(row):
    """A line for every engine and precision."""
    ours = row["libldm bf16"]
    return [[row["model"], name, cell(engine), cell(engine["processor"]),
             f"{engine['median'] / ours['median']:.2f}, of processor {engine['processor']['median'] / ours['processor']['median']:.2f}",
             f"{engine['peak_mb']:.0f}", f"{engine['loss_difference']:.1e}"]
            for name, engine in row.items() if isinstance(engine, dict)]


HEAD = ["UNet", "batch, latent", "libldm, s", "PyTorch, s", "times as fast", "processor s, libldm / PyTorch", "times as cheap",
        "peak MB, libldm / PyTorch", "losses apart"]


def cells(row):
    both = row["libldm"], row["PyTorch"]
    return [row["model"], f"{row['batch']}, {row['side']} × {row['side']}", *(cell(engine) for engine in both),
            f"{row['speed']:.2f}", " / ".join(cell(engine["processor"]) for engine in both), f"{row['cost']:.2f}",
            " / ".join(f"{engine['peak_mb']:.0f}" for engine in both),
            f"{row['loss_difference']:.1e}"]


def main():
    if sys.argv[1:2] == ["--torch"]:
        return torch_engine(sys.argv[2], *map(int, sys.argv[3:6]), sys.argv[6])
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("made")
    parser.add_argument("default")
    parser.add_argument("out")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", default=",".join(MODELS), help="models")
    parser.add_argument("--bf16", action="store_true", help="with both engines' bf16")
    options = parser.parse_args()
    rows = []
    make(options.made)
    for model in options.only.split(","):
        rows.append(measure(options.program, model, {"36m": options.made, "default": options.default}[model],
                            options.runs, options.bf16))
        print(" | ".join(cells(rows[-1])), flush=True)
    text = (f"{machine()}, fp32; forward + backward + AdamW, {options.runs} steps each, in turn.\n\n"
            + table(HEAD, [cells(row) for row in rows]))
    if options.bf16:
        text += "\n\n" + table(MODE_HEAD, [line for row in rows for line in mode_cells(row)])
    write(options.out, text, {"rows": rows})


if __name__ == "__main__":
    main()
