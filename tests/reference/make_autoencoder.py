"""What PyTorch makes of the first stage's losses, on the tiny autoencoder "sd1" of make_networks.py
(tests/reference/data/autoencoder/): terms and gradients of one pass with all of them, and ten steps of which the
last seven have the discriminator. The discriminator's random weights are kept in discriminator.safetensors.
Gradients are kept as rows of length and four products with signs, as in make_gradients.py."""

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from make_gradients import PRODUCTS, signs

DATA = Path(__file__).resolve().parent / "data" / "autoencoder"
NETWORKS = DATA.parent / "networks"
STEPS, BATCH, SIDE, START = 10, 2, 16, 3
L1, L2, PERCEPTUAL, KL, ADVERSARIAL = 1.0, 0.5, 0.7, 1e-2, 0.5
SLOPE, GROUPS, CHANNELS, LAYERS = 0.2, 8, 8, 2


def discriminator():
    """The reference's NLayerDiscriminator with GroupNorm."""
    layers = [nn.Conv2d(3, CHANNELS, 4, 2, 1), nn.LeakyReLU(SLOPE)]
    width = CHANNELS
    for i in range(1, LAYERS + 1):
        out = CHANNELS * min(2**i, 8)
        layers += [nn.Conv2d(width, out, 4, 2 if i < LAYERS else 1, 1), nn.GroupNorm(GROUPS, out),
                   nn.LeakyReLU(SLOPE)]
        width = out
    return nn.Sequential(*layers, nn.Conv2d(width, 1, 4, 1, 1))


def blur(x):
    """Binomial, on the picture mirrored between pixels."""
    weights = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0], dtype=x.dtype) / 16
    for dim in (2, 3):
        n = x.shape[dim]
        index = [1, 0, *range(n), n - 1, n - 2]
        padded = x.index_select(dim, torch.tensor(index))
        x = sum(w * padded.narrow(dim, k, n) for k, w in enumerate(weights))
    return x


def pyramid(x, smallest=8):
    total = 0
    while min(x.shape[2:]) > smallest:
        low = blur(x)
        total = total + (x - low).abs().mean()
        x = low[:, :, ::2, ::2]
    return total + x.abs().mean()


class Losses:
    def __init__(self, vae, judge):
        self.vae, self.judge = vae, judge

    def forward(self, x, noise, adversarial):
        posterior = self.vae.encode(x).latent_dist
        z = posterior.mean + posterior.std * noise
        y = self.vae.decode(z).sample
        d = y - x
        rec = L1 * d.abs().mean() + L2 * (d**2).mean() + PERCEPTUAL * pyramid(d)
        kl = posterior.kl().sum()
        loss = rec + KL * kl / x.numel()
        terms = dict(reconstruction=rec, kl=kl / z.numel(), generator=0.0, adaptive=0.0, discriminator=0.0)
        if adversarial:
            gan = -self.judge(y).mean()
            last = self.vae.decoder.conv_out.weight
            lengths = [torch.autograd.grad(part, last, retain_graph=True)[0].norm() for part in (rec, gan)]
            weight = ADVERSARIAL * (lengths[0] / (lengths[1] + 1e-4)).clamp(0, 1e4).detach()
            hinge = 0.5 * (F.relu(1 - self.judge(x)).mean() + F.relu(1 + self.judge(y.detach())).mean())
            loss = loss + weight * gan
            terms |= dict(generator=gan, adaptive=weight, discriminator=hinge)
        return loss, dict(loss=loss) | terms

    def backward(self, x, noise, adversarial):
        loss, terms = self.forward(x, noise, adversarial)
        self.judge.requires_grad_(False)
        self.vae.zero_grad()
        self.judge.zero_grad()
        loss.backward()
        self.judge.requires_grad_(True)
        return [float(torch.as_tensor(value).detach()) for value in terms.values()]


def step_judge(losses, x, noise):
    """The hinge loss's gradient, of a reconstruction before the autoencoder's update."""
    with torch.no_grad():
        posterior = losses.vae.encode(x).latent_dist
        y = losses.vae.decode(posterior.mean + posterior.std * noise).sample
    hinge = 0.5 * (F.relu(1 - losses.judge(x)).mean() + F.relu(1 + losses.judge(y)).mean())
    losses.judge.zero_grad()
    hinge.backward()


def rows(module):
    made = []
    for _, parameter in sorted(module.named_parameters()):
        values = parameter.grad.double().numpy().ravel()
        length = np.linalg.norm(values)
        made.append([length] + [signs(len(values), k) @ values / max(length, 1e-300) for k in range(PRODUCTS)])
    return torch.tensor(np.array(made))


def save(name, array):
    np.save(DATA / f"{name}.npy", array.detach().numpy().astype(np.float32))


def main():
    torch.manual_seed(3)
    DATA.mkdir(parents=True, exist_ok=True)
    vae = AutoencoderKL.from_pretrained(NETWORKS / "sd1", subfolder="vae", torch_dtype=torch.float32).train()
    judge = discriminator()
    with torch.no_grad():
        for parameter in judge.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 1.5 / parameter[0].numel() ** 0.5)
            else:
                parameter.add_(0.1 * torch.randn(parameter.shape))
    save_file({f"main.{k}": v.contiguous() for k, v in judge.state_dict().items()},
              DATA / "discriminator.safetensors", {"format": "pt"})
    (DATA / "discriminator.safetensors").chmod(0o644)
    n = STEPS * BATCH
    low = torch.randn(n, 3, SIDE // 4, SIDE // 4)
    x = torch.tanh(F.interpolate(low, size=(SIDE, SIDE), mode="bilinear") + 0.2 * torch.randn(n, 3, SIDE, SIDE))
    noise = torch.randn(n, vae.config.latent_channels, SIDE // 4, SIDE // 4)
    save("x", x)
    save("noise", noise)

    exact = Losses(vae.double(), judge.double())
    first = x[:BATCH].double(), noise[:BATCH].double()
    terms = exact.backward(*first, True)
    save("terms", torch.tensor(terms))
    save("gradients-vae", rows(vae))
    step_judge(exact, *first)
    save("gradients-discriminator", rows(judge))
    print(*(f"{value:.6f}" for value in terms))

    losses = Losses(vae.float(), judge.float())
    options = dict(lr=1e-3, betas=(0.5, 0.9), eps=1e-8, weight_decay=0.01)
    first, second = torch.optim.AdamW(vae.parameters(), **options), torch.optim.AdamW(judge.parameters(), **options)
    curve = []
    for step in range(STEPS):
        part = slice(step * BATCH, (step + 1) * BATCH)
        terms = losses.backward(x[part], noise[part], step >= START)
        if step >= START:
            step_judge(losses, x[part], noise[part])
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        first.step()
        if step >= START:
            torch.nn.utils.clip_grad_norm_(judge.parameters(), 1.0)
            second.step()
        curve.append(terms)
        print(step + 1, *(f"{value:.6f}" for value in terms))
    save("curve", torch.tensor(curve))


if __name__ == "__main__":
    main()
