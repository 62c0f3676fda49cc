"""What PyTorch makes of the first stage's losses, on the tiny autoencoder "sd1" of make_networks.py, on the same with
feature matching (tests/reference/data/autoencoder/; its files begin with matching-) and on the one with a codebook of
make_vq.py (vq-), and with latents made smaller in every second pass (scaled-): terms and gradients of one pass with all of them, and ten steps of which the last seven have the
discriminator. The discriminator's random weights are kept in discriminator.safetensors.
Gradients are kept as rows of length and four products with signs, as in make_gradients.py."""

import copy
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, VQModel
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from make_gradients import PRODUCTS, signs

DATA = Path(__file__).resolve().parent / "data" / "autoencoder"
NETWORKS = DATA.parent / "networks"
STEPS, BATCH, SIDE, START = 10, 2, 16, 3
L1, L2, PERCEPTUAL, KL, ADVERSARIAL = 1.0, 0.5, 0.7, 1e-2, 0.5
CODEBOOK, COMMITMENT, MATCHING = 0.8, 0.3, 0.6
CELLS = 3  # of 4, to which latents are made smaller
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
        self.vae, self.judge, self.small = vae, judge, False

    def rescale(self, t):
        """A latent, or pictures, in the size of the pass."""
        size = tuple(n * CELLS // 4 for n in t.shape[2:])
        return F.interpolate(t, size=size, mode="bilinear") if self.small else t

    def reconstruct(self, x, noise):
        """x', the regulariser as it is told, its share of the loss, other terms."""
        posterior = self.vae.encode(x).latent_dist
        z = posterior.mean + posterior.std * noise
        kl = posterior.kl().sum()
        return self.vae.decode(self.rescale(z)).sample, kl / z.numel(), KL * kl / x.numel(), {}

    def forward(self, x, noise, adversarial):
        y, regulariser, share, others = self.reconstruct(x, noise)
        x = self.rescale(x)
        d = y - x
        rec = L1 * d.abs().mean() + L2 * (d**2).mean() + PERCEPTUAL * pyramid(d)
        loss = rec + share
        terms = dict(reconstruction=rec, regulariser=regulariser, generator=0.0, adaptive=0.0, discriminator=0.0)
        if adversarial:
            gan = -self.judge(y).mean()
            last = self.vae.decoder.conv_out.weight
            lengths = [torch.autograd.grad(part, last, retain_graph=True)[0].norm() for part in (rec, gan)]
            weight = ADVERSARIAL * (lengths[0] / (lengths[1] + 1e-4)).clamp(0, 1e4).detach()
            hinge = 0.5 * (F.relu(1 - self.judge(x)).mean() + F.relu(1 + self.judge(y.detach())).mean())
            matching = self.match(x, y)
            loss = loss + weight * gan + sum(share for share, _ in matching.values())
            terms |= dict(generator=gan, adaptive=weight, discriminator=hinge)
            others |= {name: term for name, (_, term) in matching.items()}
        return loss, dict(loss=loss) | terms | others

    def match(self, x, y):
        """Shares of the loss, and terms, by the discriminator's features."""
        return {}

    def backward(self, x, noise, adversarial):
        loss, terms = self.forward(x, noise, adversarial)
        self.judge.requires_grad_(False)
        self.vae.zero_grad()
        self.judge.zero_grad()
        loss.backward()
        self.judge.requires_grad_(True)
        return [float(torch.as_tensor(value).detach()) for value in terms.values()]


class MatchingLosses(Losses):
    def reconstruct(self, x, noise):
        return *super().reconstruct(x, noise)[:3], dict(perplexity=0.0, matching=0.0)

    def features(self, x):
        for layer in self.judge:
            x = layer(x)
            if isinstance(layer, nn.LeakyReLU):
                yield x

    def match(self, x, y):
        pairs = zip(self.features(y), self.features(x))
        term = sum((made - true.detach()).abs().mean() for made, true in pairs)
        return dict(matching=(MATCHING * term, term))


class VqLosses(Losses):
    def reconstruct(self, x, noise):
        z = self.vae.encode(x).latents
        straight, legacy, (_, _, codes) = self.vae.quantize(z)
        e = F.embedding(codes.view(len(z), *z.shape[2:]), self.vae.quantize.embedding.weight).permute(0, 3, 1, 2)
        to_codebook, to_encoder = ((z.detach() - e) ** 2).mean(), ((z - e.detach()) ** 2).mean()
        torch.testing.assert_close(legacy, 0.25 * (to_codebook + 4 * to_encoder))
        regulariser = to_codebook + COMMITMENT * to_encoder
        y = self.vae.decoder(self.vae.post_quant_conv(straight))
        shares = codes.bincount().double() / codes.numel()
        perplexity = torch.exp(-torch.special.xlogy(shares, shares).sum())
        return y, regulariser, CODEBOOK * regulariser, dict(perplexity=perplexity)


def step_judge(losses, x, noise):
    """The hinge loss's gradient, of a reconstruction before the autoencoder's update."""
    with torch.no_grad():
        y = losses.reconstruct(x, noise)[0]
    hinge = 0.5 * (F.relu(1 - losses.judge(losses.rescale(x))).mean() + F.relu(1 + losses.judge(y)).mean())
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


def make(prefix, kind, vae, judge, x, noise, scaled=False):
    """Terms, gradients and the curve of one autoencoder; scaled: of smaller latents in every second pass."""
    exact = kind(vae.double(), judge.double())
    exact.small = scaled
    first = x[:BATCH].double(), noise[:BATCH].double()
    terms = exact.backward(*first, True)
    save(f"{prefix}terms", torch.tensor(terms))
    save(f"{prefix}gradients-vae", rows(vae))
    step_judge(exact, *first)
    save(f"{prefix}gradients-discriminator", rows(judge))
    print(*(f"{value:.6f}" for value in terms))

    losses = kind(vae.float(), judge.float())
    options = dict(lr=1e-3, betas=(0.5, 0.9), eps=1e-8, weight_decay=0.01)
    first, second = torch.optim.AdamW(vae.parameters(), **options), torch.optim.AdamW(judge.parameters(), **options)
    curve = []
    for step in range(STEPS):
        part = slice(step * BATCH, (step + 1) * BATCH)
        losses.small = scaled and step % 2 == 0
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
    save(f"{prefix}curve", torch.tensor(curve))


def main():
    torch.manual_seed(3)
    DATA.mkdir(parents=True, exist_ok=True)
    vae = AutoencoderKL.from_pretrained(NETWORKS / "sd1", subfolder="vae", torch_dtype=torch.float32).train()
    vq = VQModel.from_pretrained(DATA.parent / "vq", subfolder="vqvae", torch_dtype=torch.float32).train()
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
    make("matching-", MatchingLosses, copy.deepcopy(vae), copy.deepcopy(judge), x, noise)
    make("scaled-", MatchingLosses, copy.deepcopy(vae), copy.deepcopy(judge), x, noise, scaled=True)
    make("", Losses, vae, copy.deepcopy(judge), x, noise)
    make("vq-", VqLosses, vq, judge, x, noise)


if __name__ == "__main__":
    main()
