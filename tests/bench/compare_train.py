"""Training steps (forward, backward, AdamW) of UNets: libldm against PyTorch eager, both fp32, two threads, steps
alternating, medians with their spread, of processor time as well, which says more where the machine has other work; each
in a process of its own for its peak memory. Weights and inputs are the same ones, so the losses of every step are compared.

    compare_train.py BENCH_TRAIN MADE DEFAULT OUT [--runs N] [--only 36m,default]    writes OUT.json, OUT.md
    compare_train.py --torch FOLDER BATCH SIDE TOKENS                                   the other engine (internal)
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
MODELS = {"36m": (16, 32, 32), "default": (32, 16, 77)}  # batch, side of the latent, tokens


def make(folder, default):
    """A diffusers folder of the 36 M UNet with random weights; the autoencoder in it is only there to be complete."""
    import torch
    from diffusers import UNet2DConditionModel
    if os.path.isdir(folder):
        return
    torch.manual_seed(0)
    part = folder + ".part"
    shutil.rmtree(part, ignore_errors=True)
    UNet2DConditionModel(**BIG).save_pretrained(os.path.join(part, "unet"))
    shutil.copytree(os.path.join(default, "vae"), os.path.join(part, "vae"))
    os.rename(part, folder)


def peak_kilobytes():
    with open("/proc/self/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmHWM:"))


def torch_engine(folder, batch, side, tokens):
    """The same conversation as bench-train's."""
    import torch
    from diffusers import UNet2DConditionModel
    torch.set_num_threads(THREADS)
    start = time.monotonic()
    unet = UNet2DConditionModel.from_pretrained(folder, subfolder="unet").float().train()
    optimiser = torch.optim.AdamW(unet.parameters(), lr=1e-4, weight_decay=0.01, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 1000)
    generator = torch.Generator().manual_seed(1)
    config = unet.config

    def noise(*shape):
        return torch.randn(*shape, generator=generator)

    x = noise(batch, side, side, config.in_channels).permute(0, 3, 1, 2).contiguous()
    context = noise(batch, tokens, config.cross_attention_dim)
    target = noise(batch, side, side, config.out_channels).permute(0, 3, 1, 2).contiguous()
    timesteps = torch.tensor([i * 999 // batch for i in range(batch)])
    print(time.monotonic() - start, peak_kilobytes(), 0, time.process_time(), flush=True)
    for _ in sys.stdin:
        start, spent = time.monotonic(), time.process_time()
        loss = torch.nn.functional.mse_loss(unet(x, timesteps, context, return_dict=False)[0], target)
        loss.backward()
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


def measure(program, model, folder, runs):
    sizes = [str(n) for n in MODELS[model]]
    engines = [Engine("libldm", [program, folder, *sizes]),
               Engine("PyTorch", [sys.executable, os.path.abspath(__file__), "--torch", folder, *sizes])]
    for _ in range(runs + 1):
        for engine in engines:
            engine.step()
    row = {"model": model, "batch": MODELS[model][0], "side": MODELS[model][1]}
    row.update({engine.name: engine.result() for engine in engines})
    row["speed"] = row["PyTorch"]["median"] / row["libldm"]["median"]
    row["cost"] = row["PyTorch"]["processor"]["median"] / row["libldm"]["processor"]["median"]
    row["loss_difference"] = max(abs(a / b - 1) for a, b in zip(row["libldm"]["losses"], row["PyTorch"]["losses"]))
    return row


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
        return torch_engine(sys.argv[2], *map(int, sys.argv[3:]))
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("made")
    parser.add_argument("default")
    parser.add_argument("out")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", default=",".join(MODELS), help="models")
    options = parser.parse_args()
    rows = []
    make(options.made, options.default)
    for model in options.only.split(","):
        rows.append(measure(options.program, model, {"36m": options.made, "default": options.default}[model],
                            options.runs))
        print(" | ".join(cells(rows[-1])), flush=True)
    text = (f"{machine()}, fp32; forward + backward + AdamW, {options.runs} steps each, in turn.\n\n"
            + table(HEAD, [cells(row) for row in rows]))
    write(options.out, text, {"rows": rows})


if __name__ == "__main__":
    main()
