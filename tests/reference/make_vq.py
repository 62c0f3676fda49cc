"""A tiny random-weight VQModel with attention in a level, as a diffusers folder, with what diffusers makes of a
picture: its latent, the codebook's entries that are nearest, and the picture of these: tests/reference/data/vq/."""

from pathlib import Path

import torch
from diffusers import VQModel
from make_networks import randomise, write_array, write_weights

DATA = Path(__file__).resolve().parent / "data" / "vq"
SPEC = dict(block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=8, latent_channels=4, vq_embed_dim=3,
            num_vq_embeddings=300, scaling_factor=0.7, sample_size=24,
            down_block_types=("DownEncoderBlock2D", "AttnDownEncoderBlock2D"),
            up_block_types=("AttnUpDecoderBlock2D", "UpDecoderBlock2D"))


def main():
    torch.manual_seed(8)
    vq = randomise(VQModel(**SPEC), torch.float16)
    vq.save_config(DATA / "vqvae")
    write_weights(DATA / "vqvae" / "diffusion_pytorch_model.safetensors", vq, torch.float16)
    x = torch.rand(2, 3, 22, 18) * 2 - 1
    latent = vq.encode(x).latents
    quantised, _, (_, _, codes) = vq.quantize(latent)
    shape = (len(x), *latent.shape[2:], 1)
    arrays = dict(x=x, latent=latent, codes=codes.view(shape).permute(0, 3, 1, 2), y=vq.decode(latent).sample)
    for name, value in arrays.items():
        write_array(DATA, name, value)
    print(f"{len(codes)} cells, {len(codes.unique())} entries")


if __name__ == "__main__":
    torch.set_num_threads(1)
    with torch.no_grad():
        main()
