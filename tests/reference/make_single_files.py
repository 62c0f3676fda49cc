"""Single files in the layouts of SD 1 and SD 2, as recipes: tests/reference/data/single-file/NAME/.

tensors.txt lists the file's tensors (name, shape, range); the numbers follow from a hash of line and index, so that
the test makes the same file without any weights being stored. The names are turned into diffusers' by diffusers' own
converters, so the answers do not depend on our table of names. Arrays are .npy, f32, NCHW."""

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders.single_file_utils import (convert_ldm_clip_checkpoint, convert_ldm_unet_checkpoint,
                                                 convert_ldm_vae_checkpoint, convert_open_clip_checkpoint)
from make_networks import write_array
from transformers import CLIPTextConfig, CLIPTextModel

DATA = Path(__file__).resolve().parent / "data" / "single-file"
UNET, VAE = "model.diffusion_model.", "first_stage_model."
WIDTH, TOKENS, WORDS = 128, 77, 49408
PROMPT = [49406, 320, 1125, 539, 320, 2368, 49407]  # "a photo of a cat"

MODELS = {
    "sd1": dict(unet=dict(in_channels=4, block_out_channels=(32, 32, 64), layers_per_block=2, attention_head_dim=8,
                          down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
                          up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D")),
                text=dict(hidden_act="quick_gelu", num_hidden_layers=2), pad=49407, yaml=None),
    "sd2": dict(unet=dict(in_channels=9, block_out_channels=(32, 64), layers_per_block=1, attention_head_dim=(2, 4),
                          use_linear_projection=True, down_block_types=("CrossAttnDownBlock2D",) * 2,
                          up_block_types=("CrossAttnUpBlock2D",) * 2),
                text=dict(hidden_act="gelu", num_hidden_layers=3), pad=0,
                yaml="""model:
  params:
    linear_start: 0.00085
    linear_end: 0.0120
    timesteps: 1000
    parameterization: v
    scale_factor: 0.18215
    unet_config:
      params:
        num_head_channels: 16
        use_linear_in_transformer: true
"""),
}

RESNET = {"norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0",
          "conv2": "out_layers.3", "conv_shortcut": "skip_connection"}
OPEN_CLIP = {"self_attn.out_proj": "attn.out_proj", "layer_norm1": "ln_1", "layer_norm2": "ln_2",
             "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj"}


def renamed(name, table):
    for ours, theirs in table.items():
        name = name.replace(ours + ".", theirs + ".")
    return name


def unet_name(name, levels, layers):
    """The name in a single file; engines: i counts the blocks of the way down, o those of the way up."""
    part, *rest = name.split(".")
    tops = {"conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2"}
    if part in tops:
        return ".".join([tops[part], *rest])
    if part == "time_embedding":
        return renamed(name, {"time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2"})
    if part == "mid_block":
        index = {("resnets", "0"): 0, ("attentions", "0"): 1, ("resnets", "1"): 2}[rest[0], rest[1]]
        return renamed(f"middle_block.{index}." + ".".join(rest[2:]), RESNET if rest[0] == "resnets" else {})
    level, kind, j, tail = int(rest[0]), rest[1], int(rest[2]), ".".join(rest[3:])
    if kind == "downsamplers":
        return f"input_blocks.{(level + 1) * (layers + 1)}.0.op." + tail.removeprefix("conv.")
    if kind == "upsamplers":
        o, attention = level * (layers + 1) + layers, levels[level]
        return f"output_blocks.{o}.{2 if attention else 1}." + tail
    block = f"input_blocks.{1 + level * (layers + 1) + j}" if part == "down_blocks" else \
        f"output_blocks.{level * (layers + 1) + j}"
    return f"{block}.0." + renamed(tail, RESNET) if kind == "resnets" else f"{block}.1." + tail


def vae_name(name, levels):
    name = renamed(name, {"mid_block.resnets.0": "mid.block_1", "mid_block.resnets.1": "mid.block_2",
                          "mid_block.attentions.0.group_norm": "mid.attn_1.norm", "to_out.0": "proj_out",
                          "mid_block.attentions.0": "mid.attn_1", "to_q": "q", "to_k": "k", "to_v": "v",
                          "conv_shortcut": "nin_shortcut", "conv_norm_out": "norm_out", "resnets": "block"})
    for k in range(levels):
        name = name.replace(f"down_blocks.{k}.", f"down.{k}.").replace(f"up_blocks.{k}.", f"up.{levels - 1 - k}.")
    return name.replace("downsamplers.0.conv", "downsample.conv").replace("upsamplers.0.conv", "upsample.conv")


def text_tensors(state, open_clip):
    """Names and shapes of the text encoder in the file."""
    if not open_clip:
        return {f"cond_stage_model.transformer.text_model.{k}": tuple(v.shape) for k, v in state.items()}
    prefix, shapes = "cond_stage_model.model.", {}
    tops = {"embeddings.token_embedding": "token_embedding", "final_layer_norm": "ln_final"}
    for name, value in state.items():
        if "q_proj" in name:
            _, _, layer, _, _, kind = name.split(".")
            shape = (3 * value.shape[0], *value.shape[1:])
            shapes[f"{prefix}transformer.resblocks.{layer}.attn.in_proj_{kind}"] = shape
        elif name.startswith("encoder."):
            if "k_proj" not in name and "v_proj" not in name:
                shapes[prefix + renamed(name, {"encoder.layers": "transformer.resblocks", **OPEN_CLIP})] = tuple(value.shape)
        elif "position" in name:
            shapes[prefix + "positional_embedding"] = tuple(value.shape)
        else:
            shapes[prefix + renamed(name, tops)] = tuple(value.shape)
    return shapes | {prefix + "text_projection": (WIDTH, WIDTH)}


def recipe(name, shape):
    """Range 2^exponent about an offset: about what training starts from; norms about one."""
    norm = len(shape) == 1 and name.endswith("weight")
    if len(shape) == 1:
        return (-2 if norm else -3), int(norm)
    return (0 if "embedding" in name else round(np.log2((3 / np.prod(shape[1:])) ** 0.5))), 0


def values(line, shape, exponent, offset):
    """offset + 2^exponent u, u uniform in [-1, 1) with 24 bits, in f16: exact in f32, so the same in every language."""
    x = np.arange(np.prod(shape), dtype=np.uint32) * np.uint32(0x9E3779B1) + np.uint32(line * 0x85EBCA77 % 2**32)
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        x = (x ^ (x >> np.uint32(shift))) * np.uint32(factor)
    u = ((x ^ (x >> np.uint32(16))) >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-23) - np.float32(1)
    return torch.from_numpy((u * np.float32(2.0**exponent) + np.float32(offset)).astype(np.float16).reshape(shape))


def make_file(folder, shapes):
    folder.mkdir(parents=True, exist_ok=True)
    lines, checkpoint = [], {}
    for name, shape in shapes.items():
        exponent, offset = recipe(name, shape)
        checkpoint[name] = values(len(lines), shape, exponent, offset).float()
        lines.append(f"{name} {exponent} {offset} {'x'.join(map(str, shape))}")
    (folder / "tensors.txt").write_text("\n".join(lines) + "\n")
    return checkpoint


def load(model, state):
    model.load_state_dict(state, strict=True)
    return model.eval()


def make_model(name, spec):
    folder = DATA / name
    torch.manual_seed(sum(name.encode()))
    unet = UNet2DConditionModel(out_channels=4, cross_attention_dim=WIDTH, **spec["unet"])
    vae = AutoencoderKL(block_out_channels=(32, 32, 64), layers_per_block=1, latent_channels=4, norm_num_groups=32,
                        down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3)
    text = CLIPTextModel(CLIPTextConfig(vocab_size=WORDS, hidden_size=WIDTH, intermediate_size=2 * WIDTH,
                                        max_position_embeddings=TOKENS, num_attention_heads=WIDTH // 64,
                                        bos_token_id=49406, eos_token_id=49407, **spec["text"]))
    open_clip = name == "sd2"
    attention = ["CrossAttn" in block for block in unet.config.up_block_types]
    shapes = {UNET + unet_name(k, attention, unet.config.layers_per_block): tuple(v.shape)
              for k, v in unet.state_dict().items()}
    for k, v in vae.state_dict().items():
        squeezed = "attentions" in k and v.dim() == 2
        shapes[VAE + vae_name(k, 3)] = (*v.shape, 1, 1) if squeezed else tuple(v.shape)
    shapes |= text_tensors(text.state_dict(), open_clip)
    checkpoint = make_file(folder, shapes)
    if spec["yaml"]:
        (folder / "config.yaml").write_text(spec["yaml"])

    load(unet, convert_ldm_unet_checkpoint(dict(checkpoint), unet.config))
    load(vae, convert_ldm_vae_checkpoint(dict(checkpoint), vae.config))
    state = convert_open_clip_checkpoint(text, dict(checkpoint)) if open_clip else \
        convert_ldm_clip_checkpoint(dict(checkpoint))
    load(text, {k.removeprefix("text_model."): v for k, v in state.items() if "text_projection" not in k})

    ids = torch.tensor([PROMPT + [spec["pad"]] * (TOKENS - len(PROMPT))])
    states = text(ids, output_hidden_states=True)
    context = text.final_layer_norm(states.hidden_states[-2]) if open_clip else states.last_hidden_state
    x = torch.randn(1, unet.config.in_channels, 6, 9)
    picture, z = torch.rand(1, 3, 12, 20) * 2 - 1, torch.randn(1, 4, 3, 5)
    arrays = dict(context=context, latent=x[:, :4], y=unet(x, torch.tensor([501.0]), context).sample, picture=picture,
                  mean=0.18215 * vae.encode(picture).latent_dist.mean, z=0.18215 * z, decoded=vae.decode(z).sample)
    if x.shape[1] > 4:
        arrays["concat"] = x[:, 4:]
    for key, value in arrays.items():
        write_array(folder, key, value)


if __name__ == "__main__":
    torch.set_num_threads(1)
    with torch.no_grad():
        for model in MODELS:
            make_model(model, MODELS[model])
