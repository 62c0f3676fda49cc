"""What diffusers and peft make of LoRA and textual inversion on the tiny models of make_networks.py, for the tests to
repeat (tests/reference/data/adapters/):
MODEL-peft.safetensors, MODEL-kohya.safetensors, MODEL-older.safetensors: the same adapters under three tools' names, the
last one's without what older diffusers had no names for; with MODEL-*.npy, the networks' outputs with them.
words-*.npy, *.safetensors: learnt words in diffusers' and the web UI's form, prompts' ids and what becomes of them.
lora-*.npy, inversion-*.npy: gradients of the first and losses of ten steps of training.     ./dev reference make_adapters.py
"""

import warnings
from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from peft import LoraConfig, get_peft_model_state_dict
from safetensors.torch import load_file, save_file

DATA = Path(__file__).resolve().parent / "data"
NETWORKS, TRAINING, OUT = DATA / "networks", DATA / "training", DATA / "adapters"

# sd1: every kind of layer, alpha of its own. sd2: what all tools have names for; older diffusers knew no alpha.
ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]
EVERY = ATTENTION + ["proj_in", "ff.net.0.proj", "ff.net.2", "conv1", "conv_shortcut", "time_emb_proj", "conv", "conv_in"]
TEXT = ["q_proj", "k_proj", "v_proj", "out_proj"]
KINDS = {"sd1": (LoraConfig(r=2, lora_alpha=3, target_modules=EVERY, init_lora_weights=False),
                 LoraConfig(r=3, lora_alpha=6, target_modules=TEXT + ["fc1"], init_lora_weights=False)),
         "sd2": (LoraConfig(r=4, lora_alpha=4, target_modules=ATTENTION, init_lora_weights=False),
                 LoraConfig(r=2, lora_alpha=2, target_modules=TEXT, init_lora_weights=False))}


def pipeline(model):
    pipe = StableDiffusionPipeline.from_pretrained(NETWORKS / model, torch_dtype=torch.float32, safety_checker=None,
                                                   requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    pipe.unet.eval()
    pipe.text_encoder.eval()
    return pipe


def array(model, name):
    value = torch.from_numpy(np.load(NETWORKS / model / "arrays" / f"{name}.npy"))
    return value.long() if name == "text-ids" else value


def save(name, value):
    np.save(OUT / f"{name}.npy", value.detach().numpy().astype(np.float32))


def outputs(pipe, model):
    x, t, context = (array(model, f"unet-even-{part}") for part in ("x", "timesteps", "context"))
    with torch.no_grad():
        return (pipe.unet(x, t, context).sample, pipe.text_encoder(array(model, "text-ids")).last_hidden_state)


def same(a, b):
    return all(torch.allclose(x, y, atol=1e-5) for x, y in zip(a, b))


def randomise(module):
    for name, value in module.named_parameters():
        if "lora_" in name:
            value.data = torch.randn(value.shape) * (0.5 / value[0].numel() ** 0.5)
            value.data = value.data.half().float()


def kohya(state, alphas):
    """PEFT's names to kohya-ss's, which has alpha beside each pair."""
    out = {}
    for name, value in state.items():
        part, rest = name.split(".", 1)
        layer, end = rest.rsplit(".lora_", 1)
        if part == "text_encoder" and not layer.startswith("text_model"):
            layer = "text_model." + layer
        key = ("lora_unet_" if part == "unet" else "lora_te_") + layer.replace(".", "_")
        out[f"{key}.lora_{'down' if end[0] == 'A' else 'up'}.weight"] = value
        out[f"{key}.alpha"] = torch.tensor(float(alphas[part]))
    return out


def older(state):
    """PEFT's names to those that diffusers had before it."""
    out = {}
    for name, value in state.items():
        layer, end = name.rsplit(".lora_", 1)
        direction = "down" if end[0] == "A" else "up"
        if name.startswith("unet."):
            block, kind = layer.replace("to_out.0", "to_out").rsplit(".", 1)
            out[f"{block}.processor.{kind}_lora.{direction}.weight"] = value
        else:
            layer = layer if ".text_model." in layer else layer.replace("text_encoder.", "text_encoder.text_model.")
            out[f"{layer}.lora_linear_layer.{direction}.weight"] = value
    return out


def forward(model, unet_config, text_config):
    torch.manual_seed(3)
    pipe = pipeline(model)
    plain = outputs(pipe, model)
    pipe.unet.add_adapter(unet_config)
    pipe.text_encoder.add_adapter(text_config)
    randomise(pipe.unet)
    randomise(pipe.text_encoder)
    expected = outputs(pipe, model)
    unet, text = (get_peft_model_state_dict(net) for net in (pipe.unet, pipe.text_encoder))
    StableDiffusionPipeline.save_lora_weights(
        OUT, {k: v.half() for k, v in unet.items()}, {k: v.half() for k, v in text.items()},
        weight_name=f"{model}-peft.safetensors", unet_lora_adapter_metadata=unet_config.to_dict(),
        text_encoder_lora_adapter_metadata=text_config.to_dict())
    state = load_file(OUT / f"{model}-peft.safetensors")
    alphas = {"unet": unet_config.lora_alpha, "text_encoder": text_config.lora_alpha}
    save_file({k: v.contiguous() for k, v in kohya(state, alphas).items()}, OUT / f"{model}-kohya.safetensors")
    files = ["peft", "kohya"]
    if unet_config.lora_alpha == unet_config.r:
        save_file({k: v.contiguous() for k, v in older(state).items()}, OUT / f"{model}-older.safetensors")
        files.append("older")
    for kind in files:
        (OUT / f"{model}-{kind}.safetensors").chmod(0o644)
        other = pipeline(model)
        try:
            other.load_lora_weights(OUT, weight_name=f"{model}-{kind}.safetensors")
            print(model, kind, "as diffusers loads it:", same(outputs(other, model), expected))
        except Exception as error:  # some of the layers have names that diffusers does not translate
            print(model, kind, "not loaded by diffusers:", str(error)[:100])
    print(model, "moves the outputs by", *(float((a - b).abs().max()) for a, b in zip(plain, expected)))
    for name, value in zip(("unet", "text"), expected):
        save(f"{model}-{name}", value)


def words():
    torch.manual_seed(4)
    pipe = pipeline("sd1")
    width = pipe.text_encoder.config.hidden_size
    cat, style = torch.randn(2, width).half(), torch.randn(1, width)
    save_file({"<red-cat>": cat}, OUT / "red-cat.safetensors")
    save_file({"emb_params": style}, OUT / "oilstyle.safetensors")
    pipe.load_textual_inversion(OUT, weight_name="red-cat.safetensors")
    pipe.load_textual_inversion(style, token="oilstyle")
    # the same as in tests/parity/test-adapters.c
    prompts = ["a <red-cat>", "<red-cat>", "oilstyle, an apple", "the oilstyle <red-cat>!", "a red cat"]
    ids = pipe.tokenizer([pipe.maybe_convert_prompt(p, pipe.tokenizer) for p in prompts], padding="max_length",
                         truncation=True, max_length=pipe.tokenizer.model_max_length, return_tensors="pt").input_ids
    save("words-ids", ids)
    with torch.no_grad():
        save("words-y", pipe.text_encoder(ids).last_hidden_state)
    for name in ("red-cat", "oilstyle"):
        (OUT / f"{name}.safetensors").chmod(0o644)


def batch(schedule, step, arrays):
    part = slice(2 * step, 2 * step + 2)
    z0, noise, t, ids = (arrays[name][part] for name in ("z0", "noise", "timesteps", "ids"))
    return schedule.add_noise(z0, noise, t.long()), noise, t.long(), ids.long()


def curve(pipe, name, arrays, parameters, mask, decay):
    """Ten steps of L_LDM; gradients of the first."""
    optimiser = torch.optim.AdamW(list(parameters.values()), lr=1e-2, betas=(0.9, 0.999), eps=1e-8, weight_decay=decay)
    losses = []
    for step in range(10):
        x, noise, t, ids = batch(pipe.scheduler, step, arrays)
        y = pipe.unet(x, t, pipe.text_encoder(ids).last_hidden_state).sample
        loss = ((y - noise) ** 2).mean()
        optimiser.zero_grad()
        loss.backward()
        mask()
        if step == 0:
            gradients = {k: v.grad.clone() for k, v in parameters.items()}
        torch.nn.utils.clip_grad_norm_(list(parameters.values()), 1.0)
        optimiser.step()
        losses.append(float(loss))
    save(f"{name}-losses", torch.tensor(losses))
    print(name, *(f"{loss:.5f}" for loss in losses))
    return gradients


def training_arrays():
    return {name: torch.from_numpy(np.load(TRAINING / f"curve-sd1-{name}.npy"))
            for name in ("z0", "noise", "timesteps", "ids")}


def train_lora():
    torch.manual_seed(5)
    pipe = pipeline("sd1")
    pipe.unet.requires_grad_(False)
    pipe.text_encoder.requires_grad_(False)
    pipe.unet.add_adapter(LoraConfig(r=2, lora_alpha=4, target_modules=ATTENTION, init_lora_weights=False))
    pipe.text_encoder.add_adapter(LoraConfig(r=2, lora_alpha=4, target_modules=TEXT, init_lora_weights=False))
    randomise(pipe.unet)
    randomise(pipe.text_encoder)
    parameters, state = {}, {}
    for part, net in (("unet", pipe.unet), ("text_encoder", pipe.text_encoder)):
        for name, value in net.named_parameters():
            if "lora_" in name:
                key = f"{part}.{name.replace('.default', '')}"
                if part == "text_encoder" and not key.startswith("text_encoder.text_model"):
                    key = key.replace("text_encoder.", "text_encoder.text_model.", 1)
                parameters[key], state[key] = value, value.detach().clone()
    save_file(state, OUT / "lora-start.safetensors")
    gradients = curve(pipe, "lora", training_arrays(), parameters, lambda: None, 0.01)
    save_file(gradients, OUT / "lora-gradients.safetensors")
    for name in ("start", "gradients"):
        (OUT / f"lora-{name}.safetensors").chmod(0o644)


def train_inversion():
    torch.manual_seed(6)
    pipe = pipeline("sd1")
    pipe.unet.requires_grad_(False)
    pipe.text_encoder.requires_grad_(False)
    table = pipe.text_encoder.get_input_embeddings()
    count, width = table.weight.shape
    start = torch.randn(2, width)
    table.weight = torch.nn.Parameter(torch.cat([table.weight.data, start]))
    arrays = training_arrays()
    arrays["ids"][:, 3], arrays["ids"][:, 4] = count, count + 1
    arrays["ids"][1, 5] = count

    def mask():
        table.weight.grad[:count] = 0

    gradients = curve(pipe, "inversion", arrays, {"table": table.weight}, mask, 0.0)
    save("inversion-start", start)
    save("inversion-gradients", gradients["table"][count:])


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    OUT.mkdir(parents=True, exist_ok=True)
    for model, configs in KINDS.items():
        forward(model, *configs)
    words()
    train_lora()
    train_inversion()
    print(f"{OUT}: {sum(p.stat().st_size for p in OUT.iterdir()) / 1e6:.2f} MB")
