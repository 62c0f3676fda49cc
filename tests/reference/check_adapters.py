"""Do the files that `pentimento train lora` and `train embedding` write load in diffusers, and do they do the same there?
Trains both for a few steps on a tiny model, under PEFT's and kohya-ss's names, and compares pictures of
`pentimento generate` with those of diffusers' own pipeline.     ./dev reference check_adapters.py [MODEL]

MODEL: a diffusers folder with an autoencoder of its own, text and no masks; by default that of make_networks.py."""

import logging
import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from PIL import Image

TREE = Path(__file__).resolve().parents[2]
MODEL = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else TREE / "tests/reference/data/networks/sd1"
STEPS, PROMPT = 3, "<cat>, an apple"
faults = 0


def cli(*arguments):
    subprocess.run([TREE / "dev", "cli", *map(str, arguments)], check=True)


def make_pictures(folder):
    folder.mkdir()
    random = np.random.default_rng(1)
    for i in range(4):
        Image.fromarray(random.integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(folder / f"{i}.png")
        (folder / f"{i}.txt").write_text("an apple\n")


def theirs(latent, lora=None, word=None):
    pipe = StableDiffusionPipeline.from_pretrained(MODEL, torch_dtype=torch.float32, safety_checker=None,
                                                   requires_safety_checker=False)
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
    pipe.set_progress_bar_config(disable=True)
    if lora:
        pipe.load_lora_weights(lora.parent, weight_name=lora.name)
    if word:
        pipe.load_textual_inversion(word.parent, weight_name=word.name)
    side = MODEL_SIDE
    picture = pipe(PROMPT, height=side, width=side, num_inference_steps=STEPS, guidance_scale=1.0,
                   latents=torch.from_numpy(latent), output_type="np").images[0]
    return picture * 255


def ours(work, **files):
    options = [f"--{name}={path}" for name, path in files.items() if path]
    cli("generate", "-q", "-m", MODEL, "-p", PROMPT, "--sampler=ddim", f"--steps={STEPS}", "--guidance=1",
        f"--size={MODEL_SIDE}x{MODEL_SIDE}", f"--latent={work / 'latent.npy'}", "-o", work / "out.png", *options)
    picture = np.asarray(Image.open(work / "out.png").convert("RGB"), dtype=np.float32)
    return picture


def compare(what, a, b, plain):
    global faults
    difference, moved = np.abs(a - b).max(), np.abs(b - plain).max()
    good = difference <= 1.01 and (moved > 2 or what == "nothing")
    faults += not good
    print(f"{'ok' if good else 'NOT OK'}: {what}: differs by {difference:.2f} of 255, moves the picture by {moved:.0f}")


def main():
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        make_pictures(work / "pictures")
        torch.manual_seed(2)
        latent = torch.randn(1, CHANNELS, MODEL_SIDE // FACTOR, MODEL_SIDE // FACTOR).numpy()
        np.save(work / "latent.npy", latent)
        (work / "lora.conf").write_text("train-text = true\nalpha = 8\nema = 0\nwarm-up = 0\ntargets = all\nflip = false\n")
        (work / "kohya.conf").write_text((work / "lora.conf").read_text().replace("all", "to_q, to_v, to_out.0, ff.net.2, q_proj, out_proj")
                                         + "kohya = true\n")
        (work / "word.conf").write_text("vectors = 2\nema = 0\nwarm-up = 0\n")
        common = ["-q", "-m", MODEL, "-d", work / "pictures", "--batch=2", "--steps=10"]
        for kind in ("lora", "kohya"):
            cli("train", "lora", *common, "--rate=0.05", "-c", work / f"{kind}.conf", "-o", work / kind)
        cli("train", "embedding", *common, "--rate=0.5", "--word=<cat>", "-c", work / "word.conf", "-o", work / "word")
        lora, kohya = (work / kind / "pytorch_lora_weights.safetensors" for kind in ("lora", "kohya"))
        word = work / "word" / "learned_embeds.safetensors"
        plain = theirs(latent)
        compare("nothing", ours(work), plain, plain)
        compare("PEFT's names", ours(work, lora=lora), theirs(latent, lora), plain)
        compare("kohya-ss's names", ours(work, lora=kohya), theirs(latent, kohya), plain)
        compare("a word", ours(work, embedding=word), theirs(latent, word=word), plain)
        compare("both", ours(work, lora=lora, embedding=word), theirs(latent, lora, word), plain)
    sys.exit(faults > 0)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    logging.disable(logging.INFO)
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    probe = StableDiffusionPipeline.from_pretrained(MODEL, safety_checker=None, requires_safety_checker=False)
    CHANNELS, FACTOR = probe.vae.config.latent_channels, 2 ** (len(probe.vae.config.block_out_channels) - 1)
    MODEL_SIDE = probe.unet.config.sample_size * FACTOR
    main()
