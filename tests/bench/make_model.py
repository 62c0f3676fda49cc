"""Makes a diffusers folder of the SD 1.5 shape with random weights in f16 (2 GB): make_model.py FOLDER."""
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


if __name__ == "__main__":
    if not os.path.isdir(sys.argv[1]):
        make(sys.argv[1])
