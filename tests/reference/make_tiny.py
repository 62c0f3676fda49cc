"""A tiny random-weight AutoencoderTiny as a diffusers folder, what diffusers makes of some latents, and the same
decoder under the names that TAESD's own files have, alone and with the encoder: tests/reference/data/tiny/."""

from pathlib import Path

import torch
from diffusers import AutoencoderTiny
from make_networks import randomise, write_array, write_weights
from safetensors.torch import load_file, save_file

DATA = Path(__file__).resolve().parent / "data" / "tiny"
SPEC = dict(latent_channels=5, encoder_block_out_channels=(8, 8, 8), decoder_block_out_channels=(8, 8, 8),
            num_encoder_blocks=(1, 1, 2), num_decoder_blocks=(2, 0, 1), scaling_factor=0.7)


def taesd_name(name):
    """Both lists of layers count; the decoder's begins with a clamp in TAESD."""
    part, _, place, rest = name.split(".", 3)
    return f"{part}.{int(place) + (part == 'decoder')}.{rest}"


def main():
    torch.manual_seed(9)
    tiny = randomise(AutoencoderTiny(**SPEC), torch.float16)
    tiny.save_config(DATA / "diffusers")
    path = DATA / "diffusers" / "diffusion_pytorch_model.safetensors"
    write_weights(path, tiny, torch.float16)
    whole = {taesd_name(name): value for name, value in load_file(path).items()}
    decoder = {name.removeprefix("decoder."): value for name, value in whole.items() if name.startswith("decoder.")}
    for name, tensors in ("taesd", whole), ("taesd_decoder", decoder):
        save_file(tensors, DATA / f"{name}.safetensors")
        (DATA / f"{name}.safetensors").chmod(0o644)
    z = 2 * torch.randn(2, 5, 4, 3)
    arrays = dict(z=z, y=tiny.decode(z / 0.7).sample)  # a pipeline divides before it decodes
    for name, value in arrays.items():
        write_array(DATA, name, value)


if __name__ == "__main__":
    torch.set_num_threads(1)
    with torch.no_grad():
        main()
