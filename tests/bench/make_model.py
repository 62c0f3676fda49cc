"""Makes a diffusers folder of the SD 1.5 shape with random weights in f16 (2 GB), and from it a single file with the
names that stable-diffusion.cpp reads: make_model.py FOLDER [FILE]."""
import json
import os
import shutil
import sys

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

UNET = dict(sample_size=64, in_channels=4, out_channels=4, layers_per_block=2, cross_attention_dim=768,
            block_out_channels=(320, 640, 1280, 1280), attention_head_dim=8)
VAE = dict(sample_size=512, block_out_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=4,
           norm_num_groups=32, scaling_factor=0.18215,
           down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4)
TEXT = dict(vocab_size=49408, hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12,
            max_position_embeddings=77, hidden_act="quick_gelu", bos_token_id=49406, eos_token_id=49407,
            pad_token_id=49407)
SCHEDULER = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False,
                 set_alpha_to_one=False, steps_offset=1)


def make(folder):
    torch.manual_seed(0)
    part = folder + ".part"
    shutil.rmtree(part, ignore_errors=True)
    UNet2DConditionModel(**UNET).half().save_pretrained(os.path.join(part, "unet"), max_shard_size="9GB")
    AutoencoderKL(**VAE).half().save_pretrained(os.path.join(part, "vae"))
    CLIPTextModel(CLIPTextConfig(**TEXT)).half().save_pretrained(os.path.join(part, "text_encoder"))
    DDIMScheduler(**SCHEDULER).save_pretrained(os.path.join(part, "scheduler"))
    tree = os.environ["PENTIMENTO_TREE"]
    shutil.copytree(os.path.join(tree, "data", "tokenizer", "clip"), os.path.join(part, "tokenizer"))
    index = {"_class_name": "StableDiffusionPipeline", "unet": ["diffusers", "UNet2DConditionModel"],
             "vae": ["diffusers", "AutoencoderKL"], "text_encoder": ["transformers", "CLIPTextModel"],
             "tokenizer": ["transformers", "CLIPTokenizer"], "scheduler": ["diffusers", "DDIMScheduler"]}
    with open(os.path.join(part, "model_index.json"), "w") as f:
        json.dump(index, f, indent=2)
    os.rename(part, folder)


def make_single(folder, path):
    """The same weights under the names of the original code, which the reference scripts know."""
    sys.path.insert(0, os.path.join(os.environ["PENTIMENTO_TREE"], "tests", "reference"))
    from make_single_files import UNET as UNET_PREFIX
    from make_single_files import VAE as VAE_PREFIX
    from make_single_files import unet_name, vae_name
    from safetensors.torch import load_file, save_file
    weights = "diffusion_pytorch_model.safetensors"
    tensors = {}
    attention = [False, True, True, True]  # of the levels on the way up
    for name, value in load_file(os.path.join(folder, "unet", weights)).items():
        tensors[UNET_PREFIX + unet_name(name, attention, 2)] = value
    for name, value in load_file(os.path.join(folder, "vae", weights)).items():
        squeezed = "attentions" in name and value.dim() == 2
        tensors[VAE_PREFIX + vae_name(name, 4)] = value[:, :, None, None] if squeezed else value
    for name, value in load_file(os.path.join(folder, "text_encoder", "model.safetensors")).items():
        tensors["cond_stage_model.transformer.text_model." + name.removeprefix("text_model.")] = value
    save_file(tensors, path + ".part")
    os.rename(path + ".part", path)


if __name__ == "__main__":
    if not os.path.isdir(sys.argv[1]):
        make(sys.argv[1])
    if len(sys.argv) > 2 and not os.path.exists(sys.argv[2]):
        make_single(sys.argv[1], sys.argv[2])
