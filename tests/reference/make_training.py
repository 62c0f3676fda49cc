"""What torch.optim.AdamW with gradient clipping makes of given gradients in a few steps:
tests/reference/data/training/adamw-*.npy. The test repeats the steps and compares."""

from pathlib import Path

import numpy as np
import torch

DATA = Path(__file__).resolve().parent / "data" / "training"
STEPS, COUNT, WARM_UP, TOTAL = 12, 37, 3, 20


def adamw():
    torch.manual_seed(1)
    weight = torch.nn.Parameter(torch.randn(COUNT))
    gradients = torch.randn(STEPS, COUNT) * torch.logspace(-3, 1, COUNT)
    optimiser = torch.optim.AdamW([weight], lr=1.0, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.05)
    start, after, norms, rates = weight.detach().clone(), [], [], []
    for step, gradient in enumerate(gradients):
        along = (step - WARM_UP) / (TOTAL - WARM_UP)
        rate = 0.02 * ((step + 1) / WARM_UP if step < WARM_UP else 0.5 * (1 + np.cos(np.pi * along)))
        optimiser.param_groups[0]["lr"] = rate
        weight.grad = gradient.clone()
        norms.append(float(torch.nn.utils.clip_grad_norm_([weight], 10.0)))
        optimiser.step()
        after.append(weight.detach().clone())
        rates.append(rate)
    save("adamw-start", start)
    save("adamw-gradients", gradients)
    save("adamw-weights", torch.stack(after))
    save("adamw-norms", torch.tensor(norms))
    save("adamw-rates", torch.tensor(rates))


def save(name, array):
    np.save(DATA / f"{name}.npy", array.numpy().astype(np.float32))


if __name__ == "__main__":
    DATA.mkdir(parents=True, exist_ok=True)
    adamw()
