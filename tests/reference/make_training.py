"""What PyTorch makes of a few training steps, for the tests to repeat (tests/reference/data/training/):
adamw-*.npy: torch.optim.AdamW with gradient clipping on given gradients.
muon-*.npy: torch.optim.Muon on given gradients of a wide matrix and a tall one; its products, which are otherwise in
bf16, in f32.
curve-MODEL-*.npy: ten steps of L_LDM on the tiny models of make_networks.py, with given latents, noise,
timesteps and captions, and the loss of each; coarse-losses: with the multiscale loss of weight 1; hole-losses:
with squared errors outside the hole (where the first of its channels is not above 0) counting a tenth, on top."""

from pathlib import Path
from unittest import mock

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler, UNet2DConditionModel
from transformers import CLIPTextModel

DATA = Path(__file__).resolve().parent / "data" / "training"
NETWORKS = DATA.parent / "networks"
STEPS, COUNT, WARM_UP, TOTAL = 12, 37, 3, 20
MUON_STEPS = 5
CURVE_STEPS, BATCH, H, W = 10, 2, 4, 6

# prediction as the model's scheduler has it; gamma of min-SNR (0: none); is the text encoder trained, too
CURVES = {"sd1": (0.0, False), "sd2": (5.0, False), "inpaint": (5.0, True)}


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


def muon():
    torch.manual_seed(2)
    for name, shape in (("wide", (24, 40)), ("tall", (48, 20))):
        weight = torch.nn.Parameter(torch.randn(shape))
        gradients = torch.randn(MUON_STEPS, *shape) * torch.logspace(-2, 1, shape[1])
        optimiser = torch.optim.Muon([weight], lr=0.02, weight_decay=0.05, adjust_lr_fn="match_rms_adamw")
        start, after = weight.detach().clone(), []
        for gradient in gradients:
            weight.grad = gradient.clone()
            with mock.patch.object(torch.Tensor, "bfloat16", torch.Tensor.clone):
                optimiser.step()
            after.append(weight.detach().clone())
        for kind, array in (("start", start), ("gradients", gradients), ("weights", torch.stack(after))):
            save(f"muon-{name}-{kind}", array)


def target_and_weight(schedule, z0, noise, t, gamma):
    alpha_bar = schedule.alphas_cumprod[t].double()
    snr = alpha_bar / (1 - alpha_bar)
    if schedule.config.prediction_type == "epsilon":
        return noise, torch.clamp(snr, max=gamma) / snr if gamma else torch.ones(BATCH)
    return schedule.get_velocity(z0, noise, t), torch.clamp(snr, max=gamma) / (snr + 1)


def square_error(e, multiscale):
    loss, s = (e**2).mean((1, 2, 3)), 2
    while multiscale and s / 2 < max(H, W):
        blocks = F.avg_pool2d(e, s, ceil_mode=True)  # of the cells that are there
        loss = loss + multiscale * s * (F.interpolate(blocks, scale_factor=s)[..., :H, :W] ** 2).mean((1, 2, 3))
        s *= 2
    return loss


def curve(model, gamma, train_text, kind, multiscale, hole_focus):
    torch.manual_seed(7)
    folder = NETWORKS / model
    unet = UNet2DConditionModel.from_pretrained(folder, subfolder="unet", torch_dtype=torch.float32).train()
    text = CLIPTextModel.from_pretrained(folder, subfolder="text_encoder", torch_dtype=torch.float32).train()
    schedule = DDIMScheduler.from_pretrained(folder, subfolder="scheduler")
    text.requires_grad_(train_text)
    parameters = [*unet.parameters(), *(text.parameters() if train_text else [])]
    optimiser = torch.optim.AdamW(parameters, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01)
    n, channels = CURVE_STEPS * BATCH, unet.config.out_channels
    extra = unet.config.in_channels - channels
    z0, noise, hole = (torch.randn(n, c, H, W) for c in (channels, channels, max(extra, 1)))
    if hole_focus:
        hole[:, 0] = (hole[:, 0] > 0).float()
    t = torch.randint(0, 1000, (n,))
    ids = torch.randint(1, text.config.vocab_size, (n, text.config.max_position_embeddings))
    losses = []
    for step in range(CURVE_STEPS):
        part = slice(step * BATCH, (step + 1) * BATCH)
        x = schedule.add_noise(z0[part], noise[part], t[part])
        if extra:
            x = torch.cat([x, hole[part]], 1)
        target, weight = target_and_weight(schedule, z0[part], noise[part], t[part], gamma)
        y = unet(x, t[part], text(ids[part]).last_hidden_state).sample
        cells = torch.ones(BATCH, 1, H, W)
        if hole_focus:
            cells = torch.where(hole[part, :1] == 0, 1 - hole_focus, cells)
        error = square_error((y - target) * cells.sqrt(), multiscale) / cells.mean((1, 2, 3))
        loss = (error * weight.float()).mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        losses.append(float(loss))
    save(f"curve-{model}-{kind}losses", torch.tensor(losses))
    if not kind:
        for name, array in (dict(z0=z0, noise=noise, timesteps=t, ids=ids) | (dict(hole=hole) if extra else {})).items():
            save(f"curve-{model}-{name}", array)
    print(model, kind, *(f"{loss:.5f}" for loss in losses))


def save(name, array):
    np.save(DATA / f"{name}.npy", array.numpy().astype(np.float32))


if __name__ == "__main__":
    DATA.mkdir(parents=True, exist_ok=True)
    adamw()
    muon()
    for model, (gamma, train_text) in CURVES.items():
        curve(model, gamma, train_text, "", 0, 0)
        curve(model, gamma, train_text, "coarse-", 1, 0)
    curve("inpaint", *CURVES["inpaint"], "hole-", 1, 0.9)
