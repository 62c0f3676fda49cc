"""What PyTorch makes of the contrastive loss of text and picture (loss-contrastive.h), with the tiny text encoder
"sd1" of make_networks.py (tests/reference/data/contrastive/): loss and gradients of one pass of which two pictures
share a caption, and ten steps. The image tower's random weights are kept in tower/, the rest's in head.safetensors.
Gradients are kept as rows of length and four products with signs, as in make_gradients.py."""

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F
from transformers import CLIPTextModel

from make_autoencoder import rows
from make_gradients import PRODUCTS  # noqa: F401  (rows has that many)

DATA = Path(__file__).resolve().parent / "data" / "contrastive"
NETWORKS = DATA.parent / "networks"
STEPS, BATCH, SIDE, CHANNELS, LEVELS, WIDTH, GROUPS = 10, 4, 16, 16, 2, 24, 8


class Block(nn.Module):
    def __init__(self, c_in, c_out):
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(GROUPS, c_in), nn.Conv2d(c_in, c_out, 3, 1, 1)
        self.norm2, self.conv2 = nn.GroupNorm(GROUPS, c_out), nn.Conv2d(c_out, c_out, 3, 1, 1)
        if c_in != c_out:
            self.conv_shortcut = nn.Conv2d(c_in, c_out, 1)

    def forward(self, x):
        h = self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))
        return h + (self.conv_shortcut(x) if hasattr(self, "conv_shortcut") else x)


class Level(nn.Module):
    def __init__(self, i, c_in, c_out):
        super().__init__()
        if i > 0:
            self.downsample = nn.Conv2d(c_in, c_in, 3, 2, 1)
        self.block = Block(c_in, c_out)

    def forward(self, x):
        return self.block(self.downsample(x) if hasattr(self, "downsample") else x)


class Tower(nn.Module):
    def __init__(self):
        super().__init__()
        widths = [CHANNELS] + [CHANNELS * (2 + i) // 2 for i in range(LEVELS)]
        self.patches = nn.Conv2d(3, CHANNELS, 4, 4)
        self.levels = nn.ModuleList(Level(i, widths[i], widths[i + 1]) for i in range(LEVELS))
        self.norm = nn.GroupNorm(GROUPS, widths[-1])
        self.visual_projection = nn.Linear(widths[-1], WIDTH, bias=False)

    def forward(self, x):
        h = self.patches(x)
        for level in self.levels:
            h = level(h)
        return self.visual_projection(F.silu(self.norm(h)).mean((2, 3)))


class Head(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.text_projection = nn.Linear(width, WIDTH, bias=False)
        self.logit_scale = nn.Parameter(torch.tensor([2.65926]))


class Model(nn.Module):
    def __init__(self, text):
        super().__init__()
        self.text, self.tower, self.head = text, Tower(), Head(text.config.hidden_size)

    def forward(self, x, ids, ends):
        u = F.normalize(self.tower(x), dim=1)
        h = self.text(ids).last_hidden_state[torch.arange(len(ids)), ends]
        v = F.normalize(self.head.text_projection(h), dim=1)
        logits = self.head.logit_scale.exp().clamp(max=100) * u @ v.T
        same = (ids[:, None] == ids[None]).all(2) & ~torch.eye(len(ids), dtype=torch.bool)
        logits = logits.masked_fill(same, -torch.inf)
        own = torch.arange(len(ids))
        return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


def save(name, array):
    np.save(DATA / f"{name}.npy", array.detach().numpy().astype(np.float32))


def main():
    torch.manual_seed(5)
    (DATA / "tower").mkdir(parents=True, exist_ok=True)
    text = CLIPTextModel.from_pretrained(NETWORKS / "sd1", subfolder="text_encoder", torch_dtype=torch.float32)
    config = text.config
    model = Model(text).train()
    save_file({k: v.contiguous() for k, v in model.tower.state_dict().items()}, DATA / "tower" / "model.safetensors")
    save_file({k: v.contiguous() for k, v in model.head.state_dict().items()}, DATA / "head.safetensors")
    numbers = dict(side=SIDE, channels=CHANNELS, levels=LEVELS, width=WIDTH)
    (DATA / "tower" / "config.json").write_text(json.dumps(numbers) + "\n")
    n = STEPS * BATCH
    x = torch.tanh(torch.randn(n, 3, SIDE, SIDE))
    ids = torch.randint(0, config.vocab_size, (n, config.max_position_embeddings))
    ids[1] = ids[0]
    ends = torch.randint(0, config.max_position_embeddings, (n,))
    ends[1] = ends[0]
    save("x", x)
    save("ids", ids)
    save("ends", ends)

    exact = model.double()
    loss = exact(x[:BATCH].double(), ids[:BATCH], ends[:BATCH])
    loss.backward()
    save("loss", loss.reshape(1))
    for name in ("text", "tower", "head"):
        save(f"gradients-{name}", rows(getattr(exact, name)))
    exact.zero_grad()

    model = model.float()
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01)
    curve = []
    for step in range(STEPS):
        part = slice(step * BATCH, (step + 1) * BATCH)
        optimiser.zero_grad()
        loss = model(x[part], ids[part], ends[part])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        curve.append(float(loss.detach()))
        print(step + 1, f"{curve[-1]:.6f}")
    save("curve", torch.tensor(curve))


if __name__ == "__main__":
    main()
