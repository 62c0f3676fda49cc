"""Tiny random-weight models in the forms of SD 1, SD 2 and of nine-channel inpainting models, as diffusers
folders, with what diffusers and transformers make of some inputs: tests/reference/data/networks/NAME/.

Every parameter is random (zero-initialised layers and norms too), so that each one matters; weights are
rounded to their file's precision before the reference runs in f32. Arrays are .npy, f32, NCHW."""

import json
import os
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel

DATA = Path(__file__).resolve().parent / "data" / "networks"
TOKENS = 11

MODELS = {
    # convolutional projections, one number of heads, last level without attention
    "sd1": dict(
        unet=dict(block_out_channels=(8, 16, 16), layers_per_block=2, attention_head_dim=4, norm_num_groups=8,
                  down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
                  up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
                  cross_attention_dim=24, sample_size=8),
        vae=dict(block_out_channels=(8, 8, 16), layers_per_block=2, norm_num_groups=8, latent_channels=4,
                 scaling_factor=0.18215, sample_size=32),
        text=dict(hidden_size=24, num_attention_heads=3, num_hidden_layers=3, intermediate_size=96,
                  hidden_act="quick_gelu"),
        prediction="epsilon", dtypes=(torch.float16, torch.float16, torch.float16)),
    # linear projections, heads by level (one head size), two blocks at the coarser level
    "sd2": dict(
        unet=dict(block_out_channels=(8, 16), layers_per_block=1, attention_head_dim=(2, 4), norm_num_groups=4,
                  use_linear_projection=True, transformer_layers_per_block=(1, 2),
                  down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
                  up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
                  cross_attention_dim=32, sample_size=12),
        vae=dict(block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=8, latent_channels=4,
                 scaling_factor=0.18215, sample_size=24, mid_block_add_attention=True),
        text=dict(hidden_size=32, num_attention_heads=4, num_hidden_layers=2, intermediate_size=128,
                  hidden_act="gelu", pad_token_id=0),
        prediction="v_prediction", dtypes=(torch.float16, torch.float32, torch.float16)),
    # latent, mask and masked latent; attention at every level
    "inpaint": dict(
        unet=dict(in_channels=9, out_channels=4, block_out_channels=(8, 16, 16), layers_per_block=1,
                  attention_head_dim=2, norm_num_groups=8, norm_eps=1e-5,
                  down_block_types=("CrossAttnDownBlock2D",) * 3, up_block_types=("CrossAttnUpBlock2D",) * 3,
                  cross_attention_dim=16, sample_size=8),
        vae=dict(block_out_channels=(8, 12, 16), layers_per_block=1, norm_num_groups=4, latent_channels=4,
                 scaling_factor=0.632426, sample_size=32),
        text=dict(hidden_size=16, num_attention_heads=2, num_hidden_layers=2, intermediate_size=64,
                  hidden_act="quick_gelu"),
        prediction="epsilon", dtypes=(torch.bfloat16, torch.float16, torch.float32)),
}

# height, width, pictures, contexts: even, and sizes that no level halves evenly
UNET_CASES = {"even": (8, 8, 2, 2), "odd": (5, 7, 1, 1), "shared": (6, 9, 2, 1),
              "thin": (3, 2, 1, 1)}


def randomise(module, dtype):
    for parameter in module.parameters():
        if parameter.dim() == 1:
            values = 0.2 * torch.randn(parameter.shape)
        else:
            values = torch.randn(parameter.shape) / parameter[0].numel() ** 0.5
        parameter.data = values.to(dtype).float()
    for part in module.modules():
        if isinstance(part, (torch.nn.GroupNorm, torch.nn.LayerNorm)):
            part.weight.data = (1 + part.weight.data).to(dtype).float()
    return module.eval()


def vocabulary():
    """CLIP's byte alphabet with and without end of word, a few merges, start and end of text."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    letters = [chr(b) for b in printable] + [chr(256 + i) for i in range(len(others))]
    merges = ["a p", "ap p", "l e</w>", "app le</w>", "r e", "re d</w>", "t h", "th e</w>", "a n", "an d</w>"]
    words = letters + [letter + "</w>" for letter in letters] + [merge.replace(" ", "") for merge in merges]
    words += ["<|startoftext|>", "<|endoftext|>"]
    return {word: i for i, word in enumerate(words)}, merges


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def write_weights(path, module, dtype):
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({k: v.to(dtype).contiguous() for k, v in module.state_dict().items()}, path, {"format": "pt"})
    path.chmod(0o644)


def write_array(folder, name, value):
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / f"{name}.npy", np.ascontiguousarray(value.detach().numpy(), dtype=np.float32))


def make_unet(folder, spec, dtype):
    unet = randomise(UNet2DConditionModel(**spec), dtype)
    unet.save_config(folder / "unet")
    write_weights(folder / "unet" / "diffusion_pytorch_model.safetensors", unet, dtype)
    for name, (h, w, n, contexts) in UNET_CASES.items():
        with torch.random.fork_rng(enabled=name == "thin"):  # leaves later numbers as they were
            x = torch.randn(n, unet.config.in_channels, h, w)
            t = torch.tensor([981.0, 3.5][:n])
            context = torch.randn(contexts, TOKENS, unet.config.cross_attention_dim)
        y = unet(x, t, context.expand(n, -1, -1)).sample
        for key, value in dict(x=x, timesteps=t, context=context, y=y).items():
            write_array(folder / "arrays", f"unet-{name}-{key}", value)


def make_vae(folder, spec, dtype):
    levels = len(spec["block_out_channels"])
    vae = randomise(AutoencoderKL(down_block_types=("DownEncoderBlock2D",) * levels,
                                  up_block_types=("UpDecoderBlock2D",) * levels, **spec), dtype)
    vae.save_config(folder / "vae")
    write_weights(folder / "vae" / "diffusion_pytorch_model.safetensors", vae, dtype)
    f = 2 ** (levels - 1)
    x = torch.rand(1, 3, 5 * f, 3 * f) * 2 - 1
    posterior = vae.encode(x).latent_dist
    noise = torch.randn(posterior.mean.shape)
    z = torch.randn(2, 4, 3, 5)
    latent = (posterior.mean + posterior.std * noise) * vae.config.scaling_factor
    arrays = dict(x=x, moments=posterior.parameters, noise=noise, latent=latent, z=z, y=vae.decode(z).sample)
    for key, value in arrays.items():
        write_array(folder / "arrays", f"vae-{key}", value)


def make_text(folder, spec, dtype):
    words, merges = vocabulary()
    bos, eos = words["<|startoftext|>"], words["<|endoftext|>"]
    spec = dict(vocab_size=len(words), max_position_embeddings=TOKENS, bos_token_id=bos, eos_token_id=eos,
                projection_dim=spec["hidden_size"], **{"pad_token_id": eos, **spec})
    text = randomise(CLIPTextModel(CLIPTextConfig(**spec)), dtype)
    write_json(folder / "text_encoder" / "config.json", text.config.to_dict() | {"architectures": ["CLIPTextModel"]})
    write_weights(folder / "text_encoder" / "model.safetensors", text, dtype)
    write_json(folder / "tokenizer" / "vocab.json", words)
    (folder / "tokenizer" / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n", encoding="utf-8")
    write_json(folder / "tokenizer" / "tokenizer_config.json",
               dict(tokenizer_class="CLIPTokenizer", model_max_length=TOKENS, bos_token="<|startoftext|>",
                    eos_token="<|endoftext|>", pad_token="!" if spec["pad_token_id"] == 0 else "<|endoftext|>"))
    pad = spec["pad_token_id"]
    ids = torch.randint(1, bos, (2, TOKENS))
    ids[:, 0] = bos
    ids[0, 5], ids[0, 6:] = eos, pad
    ids[1, -1] = eos
    write_array(folder / "arrays", "text-ids", ids)
    states = text(ids, output_hidden_states=True)
    write_array(folder / "arrays", "text-y", states.last_hidden_state)
    write_array(folder / "arrays", "text-penultimate", text.final_layer_norm(states.hidden_states[-2]))


def make_model(name, spec):
    folder = DATA / name
    torch.manual_seed(sum(name.encode()))
    unet, vae, text = spec["dtypes"]
    make_unet(folder, spec["unet"], unet)
    make_vae(folder, spec["vae"], vae)
    make_text(folder, spec["text"], text)
    write_json(folder / "scheduler" / "scheduler_config.json",
               dict(_class_name="DDIMScheduler", num_train_timesteps=1000, beta_start=0.00085, beta_end=0.012,
                    beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False, steps_offset=1,
                    timestep_spacing="leading", prediction_type=spec["prediction"]))
    write_json(folder / "model_index.json",
               dict(_class_name="StableDiffusionPipeline", unet=["diffusers", "UNet2DConditionModel"],
                    vae=["diffusers", "AutoencoderKL"], text_encoder=["transformers", "CLIPTextModel"],
                    tokenizer=["transformers", "CLIPTokenizer"], scheduler=["diffusers", "DDIMScheduler"]))


if __name__ == "__main__":
    torch.set_num_threads(1)
    with torch.no_grad():
        for model in MODELS:
            make_model(model, MODELS[model])
    total = sum(os.path.getsize(path) for path in DATA.rglob("*") if path.is_file())
    print(f"{DATA}: {total / 1e6:.2f} MB")
