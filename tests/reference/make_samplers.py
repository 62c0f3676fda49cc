"""Trajectories of diffusers' samplers around a network both sides can compute, into data/samplers/:

cases.txt         one run a line: sampler sigmas spacing betas prediction K strength eta offset final_one zero_snr mask
trajectories.npy  the latent after each step of each run, [1, 4, 3, 5] in NCHW order, one after another
times.txt         one schedule a line: the same words up to K, with prediction epsilon and offset 1
times.npy         16 timesteps and their alpha_bar of each, evenly picked
noise.npy         torch.randn of [1, 4, 3, 5], three draws, seed 42
rescaled.npy      the first two of them as outputs without and with the prompt, guided by 7.5 and rescaled by 0.7

Latents are in the variance-preserving space: those of Euler are divided by sqrt(sigma^2 + 1).
"""
import itertools
import os

import numpy as np
import torch
from diffusers import (DDIMScheduler, DPMSolverMultistepScheduler, EulerAncestralDiscreteScheduler,
                       EulerDiscreteScheduler)
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import rescale_noise_cfg

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data", "samplers")
SHAPE = (1, 4, 3, 5)
KINDS = {"ddim": DDIMScheduler, "euler": EulerDiscreteScheduler, "euler-a": EulerAncestralDiscreteScheduler,
         "dpmpp-2m": DPMSolverMultistepScheduler}


def network(x, t):
    """0.5 x + 0.3 tanh x + 0.2 sin(t / 50 + channel), in double."""
    channel = torch.arange(SHAPE[1], dtype=torch.float64).reshape(1, -1, 1, 1)
    x = x.double()
    return (0.5 * x + 0.3 * torch.tanh(x) + 0.2 * torch.sin(float(t) / 50 + channel)).float()


def scheduler_for(sampler, sigmas, spacing, betas, prediction, offset, final_one, zero_snr):
    folder = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule=betas, clip_sample=False,
                           set_alpha_to_one=bool(final_one), steps_offset=offset, timestep_spacing=spacing,
                           prediction_type=prediction, rescale_betas_zero_snr=bool(zero_snr))
    more = {"use_karras_sigmas": True} if sigmas == "karras" else {}
    return KINDS[sampler].from_config(folder.config, **more)


def level(scheduler, k):
    """alpha_bar at the beginning of step k, which for k = K is the end."""
    if hasattr(scheduler, "sigmas"):
        return 1.0 / (float(scheduler.sigmas[k]) ** 2 + 1.0)
    return float(scheduler.alphas_cumprod[scheduler.timesteps[k]])


def run(sampler, sigmas, spacing, betas, prediction, K, strength, eta, offset, final_one, zero_snr, mask):
    scheduler = scheduler_for(sampler, sigmas, spacing, betas, prediction, offset, final_one, zero_snr)
    scheduler.set_timesteps(K)
    euler = sampler.startswith("euler")
    start = K - min(int(K * strength), K)
    generator = torch.Generator("cpu").manual_seed(7)
    noise = torch.randn(SHAPE, generator=generator)
    z0 = torch.randn(SHAPE, generator=torch.Generator("cpu").manual_seed(99))
    # cells of the left three columns are repainted, the others kept
    keep = torch.zeros(SHAPE)
    keep[..., 3:] = 1.0 if mask == "half" else 0.0
    timesteps = scheduler.timesteps[start:]
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(start)
    if mask == "pure" or (mask == "half" and strength == 1.0):
        latents = noise * scheduler.init_noise_sigma
    else:
        latents = scheduler.add_noise(z0, noise, timesteps[:1])
    rows = []
    more = {"eta": eta} if sampler == "ddim" else {}
    more.update({} if sampler == "euler" else {"generator": generator})
    for i, t in enumerate(timesteps):
        output = network(scheduler.scale_model_input(latents, t), t)
        latents = scheduler.step(output, t, latents, **more).prev_sample
        if mask == "half":
            held = z0 if i + 1 == len(timesteps) else scheduler.add_noise(z0, noise, timesteps[i + 1:i + 2])
            latents = keep * held + (1 - keep) * latents
        scale = np.sqrt(level(scheduler, start + i + 1)) if euler else 1.0
        rows.append((latents.double() * scale).float().numpy().ravel())
    return rows


def cases():
    plain = ("linspace", "leading", "trailing")
    for sampler, spacing, prediction, K in itertools.product(KINDS, plain, ("epsilon", "v_prediction"), (1, 2, 5)):
        yield sampler, "model", spacing, "scaled_linear", prediction, K, 1.0, 0.0, 1, 0, 0, "pure"
    for sampler, spacing in itertools.product(KINDS, plain):
        yield sampler, "model", spacing, "scaled_linear", "epsilon", 20, 1.0, 0.0, 1, 0, 0, "pure"
        yield sampler, "model", spacing, "scaled_linear", "epsilon", 7, 0.6, 0.0, 1, 0, 0, "none"
        yield sampler, "model", spacing, "scaled_linear", "epsilon", 4, 1.0, 0.0, 1, 0, 0, "half"
        yield sampler, "model", spacing, "scaled_linear", "v_prediction", 6, 0.7, 0.0, 1, 0, 0, "half"
        if sampler != "euler-a":
            yield sampler, "model", spacing, "scaled_linear", "sample", 5, 1.0, 0.0, 1, 0, 0, "pure"
    for sampler, spacing, K in itertools.product(("euler", "dpmpp-2m"), plain, (1, 2, 5, 20)):
        yield sampler, "karras", spacing, "scaled_linear", "epsilon", K, 1.0, 0.0, 1, 0, 0, "pure"
    for sampler in ("euler", "dpmpp-2m"):
        yield sampler, "karras", "leading", "linear", "v_prediction", 9, 0.5, 0.0, 1, 0, 0, "none"
        yield sampler, "karras", "leading", "squaredcos_cap_v2", "v_prediction", 6, 1.0, 0.0, 0, 0, 0, "pure"
    for spacing, eta, K in itertools.product(plain, (0.5, 1.0), (2, 5, 20)):
        yield "ddim", "model", spacing, "scaled_linear", "epsilon", K, 1.0, eta, 1, 0, 0, "pure"
    for sampler, betas in itertools.product(KINDS, ("linear", "squaredcos_cap_v2")):
        yield sampler, "model", "leading", betas, "v_prediction", 8, 1.0, 0.0, 0, 1, 0, "pure"
    for sampler in KINDS:
        yield sampler, "model", "trailing", "scaled_linear", "v_prediction", 6, 1.0, 0.0, 0, 0, 1, "pure"
    yield "ddim", "model", "trailing", "scaled_linear", "v_prediction", 6, 1.0, 0.5, 0, 0, 1, "pure"


def schedules():
    for sampler, sigmas, spacing in itertools.product(("ddim", "euler", "dpmpp-2m"), ("model", "karras"),
                                                      ("linspace", "leading", "trailing")):
        if sampler == "ddim" and sigmas == "karras":
            continue
        for K in (1, 2, 3, 7, 15, 30, 50, 110, 300, 499, 500, 501, 600, 999, 1000):
            # where the reference gives no usable times: beyond the schedule, all the same, one too many
            scheduler = scheduler_for(sampler, sigmas, spacing, "scaled_linear", "epsilon", 1, 0, 0)
            scheduler.set_timesteps(K)
            t = scheduler.timesteps.numpy().astype(np.float64)
            one_too_many = spacing == "trailing" and len(np.arange(1000, 0, -1000 / K)) != K
            if one_too_many or len(t) != K or t.min() < 0 or t.max() > 999 or (K > 1 and t[0] == t[-1]):
                print("left out:", sampler, sigmas, spacing, K, len(t), t.min(), t.max())
                continue
            picked = [i * (K - 1) // 15 for i in range(16)]
            yield (sampler, sigmas, spacing, "scaled_linear", K), [(t[k], level(scheduler, k)) for k in picked]


def main():
    os.makedirs(OUT, exist_ok=True)
    rows, lines = [], []
    for case in cases():
        rows += run(*case)
        lines.append(" ".join(map(str, case)))
    np.save(os.path.join(OUT, "trajectories.npy"), np.concatenate(rows).astype("<f4"))
    with open(os.path.join(OUT, "cases.txt"), "w") as f:
        f.write("\n".join(lines) + "\n")
    names, values = zip(*schedules())
    np.save(os.path.join(OUT, "times.npy"), np.array(values, dtype="<f4").ravel())
    with open(os.path.join(OUT, "times.txt"), "w") as f:
        f.write("\n".join(" ".join(map(str, n)) for n in names) + "\n")
    generator = torch.Generator("cpu").manual_seed(42)
    draws = [torch.randn(SHAPE, generator=generator) for _ in range(3)]
    np.save(os.path.join(OUT, "noise.npy"), torch.cat(draws).numpy().ravel())
    guided = draws[0] + 7.5 * (draws[1] - draws[0])
    np.save(os.path.join(OUT, "rescaled.npy"), rescale_noise_cfg(guided, draws[1], 0.7).numpy().ravel())
    print(len(lines), "runs,", len(rows), "steps,", len(names), "schedules")


main()
