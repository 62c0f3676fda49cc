"""Image to image with diffusers as one process: img2img_diffusers.py MODEL PICTURE OUT STEPS STRENGTH GUIDANCE.
DDIM in fp32; a line for the first step and for every one after, then the number of evaluations."""
import sys

import torch
from diffusers import DDIMScheduler, StableDiffusionImg2ImgPipeline
from PIL import Image


def main():
    model, picture, out, steps, strength, guidance = sys.argv[1:]
    evaluations = 0

    def count(module, arguments):
        nonlocal evaluations
        evaluations += arguments[0].shape[0]

    def report(pipeline, step, timestep, values):
        print("step", step + 1, flush=True)
        return values

    torch.set_num_threads(2)
    line = StableDiffusionImg2ImgPipeline.from_pretrained(model, torch_dtype=torch.float32, safety_checker=None,
                                                          feature_extractor=None, requires_safety_checker=False)
    line.scheduler = DDIMScheduler.from_config(line.scheduler.config)
    line.tokenizer.model_max_length = 77  # the model's folder does not say
    line.set_progress_bar_config(disable=True)
    line.unet.register_forward_pre_hook(count)
    result = line(prompt="a red apple on a wooden table", image=Image.open(picture), num_inference_steps=int(steps),
                  strength=float(strength), guidance_scale=float(guidance),
                  generator=torch.Generator().manual_seed(1), callback_on_step_end=report)
    result.images[0].save(out)
    print("evaluations", evaluations, flush=True)


if __name__ == "__main__":
    main()
