"""Gradients of the tiny networks of make_networks.py, as PyTorch has them in double precision: networks/MODEL/gradients/.

The loss is half the sum of squares of the output, so that its gradient is the output itself. CASE.npy has a row for
each parameter, in the order of their names: the gradient's Euclidean length and its products with four vectors of
signs (see `signs`), divided by the length. CASE-x.npy and CASE-context.npy are gradients of the inputs, complete."""

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextModel

DATA = Path(__file__).resolve().parent / "data" / "networks"
UNET_CASES = ("even", "odd", "shared")
PRODUCTS = 4


def signs(n, k):
    """+1 or -1 for i < n, from a 32-bit hash of 4 i + k."""
    v = (np.arange(n, dtype=np.uint64) * PRODUCTS + k + 1) * 2654435761 % 2**32
    v = (v ^ (v >> 15)) * 2246822519 % 2**32
    v = (v ^ (v >> 13)) * 3266489917 % 2**32
    return 1.0 - 2.0 * ((v >> 16) & 1)


def array(model, name):
    return torch.from_numpy(np.load(DATA / model / "arrays" / f"{name}.npy")).double()


def write(model, case, parameters, **inputs):
    folder = DATA / model / "gradients"
    folder.mkdir(exist_ok=True)
    rows = []
    for _, parameter in sorted(parameters):
        gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        values = gradient.double().numpy().ravel()
        length = np.linalg.norm(values)
        rows.append([length] + [signs(len(values), k) @ values / max(length, 1e-300) for k in range(PRODUCTS)])
        parameter.grad = None
    np.save(folder / f"{case}.npy", np.array(rows, dtype=np.float32))
    for key, value in inputs.items():
        np.save(folder / f"{case}-{key}.npy", value.grad.numpy().astype(np.float32))


def half_squares(y):
    (y.square().sum() / 2).backward()


def make_unet(model):
    unet = UNet2DConditionModel.from_pretrained(DATA / model / "unet", torch_dtype=torch.float64).eval()
    for case in UNET_CASES:
        x = array(model, f"unet-{case}-x").requires_grad_()
        context = array(model, f"unet-{case}-context").requires_grad_()
        times = array(model, f"unet-{case}-timesteps")
        half_squares(unet(x, times, context.expand(len(x), -1, -1)).sample)
        write(model, f"unet-{case}", unet.named_parameters(), x=x, context=context)


def make_vae(model):
    vae = AutoencoderKL.from_pretrained(DATA / model / "vae", torch_dtype=torch.float64).eval()
    x, z = array(model, "vae-x").requires_grad_(), array(model, "vae-z").requires_grad_()
    half_squares(vae.encode(x).latent_dist.parameters)
    half_squares(vae.decode(z).sample)
    write(model, "vae", vae.named_parameters(), x=x, z=z)


def make_text(model):
    text = CLIPTextModel.from_pretrained(DATA / model / "text_encoder", torch_dtype=torch.float64).eval()
    ids = array(model, "text-ids").long()
    half_squares(text(ids).last_hidden_state)
    write(model, "text", text.named_parameters())


if __name__ == "__main__":
    torch.set_num_threads(1)
    for name in ("sd1", "sd2", "inpaint"):
        make_unet(name)
        make_vae(name)
        make_text(name)
