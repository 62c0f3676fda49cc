"""The whole line against diffusers, with the small networks of data/networks/inpaint: pictures for tests/parity/test-pipeline.c.

The loops are written out here from the paper and from what issue and README promise; networks, tokenizer, schedulers
and random numbers are diffusers', transformers' and torch's own.     ./dev reference make_pipeline.py
"""

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, DPMSolverMultistepScheduler, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

here = Path(__file__).resolve().parent
model = here / "data" / "networks" / "inpaint"
out = here / "data" / "pipeline"
SEED, SIZE, GUIDANCE = 7, 32, 4.0

torch.set_grad_enabled(False)
load = {"torch_dtype": torch.float32, "local_files_only": True}
vae = AutoencoderKL.from_pretrained(model / "vae", **load).eval()
unet = UNet2DConditionModel.from_pretrained(model / "unet", **load).eval()
text = CLIPTextModel.from_pretrained(model / "text_encoder", **load).eval()
tokenizer = CLIPTokenizer.from_pretrained(model / "tokenizer", local_files_only=True)
f = 2 ** (len(vae.config.block_out_channels) - 1)
cells_side = SIZE // f


def condition(prompt):
    ids = tokenizer(prompt, padding="max_length", truncation=True, max_length=text.config.max_position_embeddings,
                    return_tensors="pt").input_ids
    return text(ids)[0]


def encode(picture):
    return vae.encode(picture).latent_dist.mean * vae.config.scaling_factor


def decode(latent):
    return vae.decode(latent / vae.config.scaling_factor).sample


def denoise(scheduler, steps, prompt, concat, *, z0=None, strength=1.0, cells=None, pure_noise=True):
    """The loop; `cells` is the soft mask, [1, 1, h, w], 1 = repaint."""
    generator = torch.Generator().manual_seed(SEED)
    noise = torch.randn((1, vae.config.latent_channels, cells_side, cells_side), generator=generator)
    scheduler.set_timesteps(steps)
    start = steps - min(int(steps * strength), steps)
    times = scheduler.timesteps[start:]
    z = noise * scheduler.init_noise_sigma if pure_noise else scheduler.add_noise(z0, noise, times[:1])
    if cells is not None:  # the step at which each cell starts; until then it is held at the others' noise level
        begins = steps - torch.clamp((steps * (strength * cells.double() + 1e-9)).floor(), max=steps)
        z = torch.where(begins > start, scheduler.add_noise(z0, noise, times[:1]), z)
    context = torch.cat([condition(""), condition(prompt)])
    for k, t in enumerate(times, start):
        x = torch.cat([torch.cat([z, concat], 1)] * 2)
        e_u, e_c = unet(x, t, encoder_hidden_states=context).sample.chunk(2)
        z = scheduler.step(e_u + GUIDANCE * (e_c - e_u), t, z).prev_sample
        if cells is not None:
            held = scheduler.add_noise(z0, noise, scheduler.timesteps[k + 1][None]) if k + 1 < steps else z0
            z = torch.where(begins > k, held, z)
    return z


def all_hole():
    grey = encode(torch.zeros(1, 3, SIZE, SIZE))
    return torch.cat([torch.ones_like(grey[:, :1]), grey], 1)


def box(planes, radius):
    """Mean over 2 radius + 1 pixels along the last axis, cut at the edges. float32 between the passes."""
    n = planes.shape[-1]
    sums = np.concatenate([np.zeros_like(planes[..., :1], np.float64), np.cumsum(planes, -1, np.float64)], -1)
    low, high = np.maximum(np.arange(n) - radius, 0), np.minimum(np.arange(n) + radius + 1, n)
    return ((sums[..., high] - sums[..., low]) / (high - low)).astype(np.float32)


def match_colour(made, picture, mask):
    """core/finish/match.c."""
    known = (mask == 0).astype(np.float32)
    planes = np.concatenate([np.clip(picture - made, -0.2, 0.2) * known, known], 1)
    for _ in range(3):
        planes = box(planes, f)
        planes = box(planes.swapaxes(2, 3), f).swapaxes(2, 3)
    d, w = planes[:, :3], planes[:, 3:]
    return np.where(w < 1e-4, made, made + np.minimum(1, 2 * w) * d / np.maximum(w, 1e-4))


def example():
    """A picture with soft and hard edges, R'G'B' in 0..1, and a soft mask on the latent's grid."""
    y, x = np.mgrid[0:SIZE, 0:SIZE] / SIZE
    rgb = np.stack([0.2 + 0.6 * x, 0.7 - 0.4 * y, 0.3 + 0.2 * np.sin(9 * x + 5 * y)])
    disc = (x - 0.6) ** 2 + (y - 0.4) ** 2 < 0.06
    rgb[:, disc] = np.array([0.85, 0.2, 0.15])[:, None]
    mask = np.zeros((1, 1, SIZE, SIZE))
    mask[..., 8:24, 10:26] = 0.5
    mask[..., 12:20, 14:22] = 1.0
    return rgb[None].astype(np.float32), mask.astype(np.float32)


def save(name, array):
    np.save(out / f"{name}.npy", np.ascontiguousarray(array, dtype=np.float32))


def main():
    out.mkdir(parents=True, exist_ok=True)
    ddim = DDIMScheduler.from_pretrained(model / "scheduler")
    dpmpp = DPMSolverMultistepScheduler.from_config(ddim.config)
    rgb, mask = example()
    picture = torch.from_numpy(rgb) * 2 - 1
    save("picture", np.concatenate([rgb, np.ones_like(mask)], 1))
    save("mask", mask)

    def finish(x):
        return np.clip(np.asarray(x) / 2 + 0.5, 0, 1)

    z = denoise(ddim, 6, "a red apple", all_hole())
    save("generate-latent", z)
    save("generate-ddim", finish(decode(z)))
    save("generate-dpmpp-2m", finish(decode(denoise(dpmpp, 6, "a red apple", all_hole()))))

    z0 = encode(picture)
    save("img2img", finish(decode(denoise(ddim, 8, "a yellow sun", all_hole(), z0=z0, strength=0.6, pure_noise=False))))

    cells = torch.nn.functional.max_pool2d(torch.from_numpy(mask), f)
    hole = torch.from_numpy(mask) > 0
    concat = torch.cat([(cells > 0).float(), encode(torch.where(hole, 0.0, picture))], 1)
    z = denoise(ddim, 8, "a yellow sun", concat, z0=z0, cells=cells)
    made = finish(match_colour(decode(z).numpy(), picture.numpy(), mask))
    alpha = np.minimum(1, 2 * mask)
    save("inpaint", rgb + alpha * (made - rgb))


main()
