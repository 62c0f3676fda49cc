"""Image to image on the SD 1.5 shape as whole processes, each started cold: libldm, exact and in its declared fast mode,
diffusers, and stable-diffusion.cpp where it is there; in turn, two threads each, with equal numbers of evaluations of the
denoiser. Then from the start of a process through its first evaluation, beside a warm one.

    compare_whole.py PENTIMENTO BENCH_MODEL FOLDER OUT [--runs N] [--steps N] [--size N] [--only libldm,fast,...]
"""
import argparse
import os
import re
import subprocess
import sys
import tempfile

from measure import THREADS, cell, environment, event, machine, processor, run_process, spread, table, write

STRENGTH, GUIDANCE, PROMPT = 0.75, 7.5, "a red apple on a wooden table"


class Libldm:
    name, options = "libldm", []

    def __init__(self, settings):
        self.settings = settings

    def command(self, picture, out):
        s = self.settings
        return [s.pentimento, "img2img", "--json", "-m", s.folder, "-o", out, "-p", PROMPT, "--steps", str(s.steps),
                "--strength", str(STRENGTH), "--guidance", str(GUIDANCE), "--sampler", "ddim", "--seed", "1",
                *self.options, picture]

    def watch(self, line):
        """The end of the first step shows as the beginning of what follows it."""
        found = event(line)
        if found.get("event") == "done":
            self.evaluations = found["evaluations"]
        return "first" if found.get("step", 0) > 1 or found.get("stage") == "decode" else None


class Fast(Libldm):
    """What docs/performance-fast.md measures the error of."""

    def __init__(self, settings):
        super().__init__(settings)
        self.options = settings.fast.split()
        self.name = f"libldm, `{settings.fast}`"


class Diffusers:
    name = "diffusers"

    def __init__(self, settings):
        self.settings = settings

    def command(self, picture, out):
        s = self.settings
        script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "img2img_diffusers.py")
        return [sys.executable, script, s.folder, picture, out, str(s.steps), str(STRENGTH), str(GUIDANCE)]

    def watch(self, line):
        if line.startswith("evaluations "):
            self.evaluations = int(line.split()[1])
        return "first" if line == "step 1" else None


class StableDiffusionCpp:
    name = "stable-diffusion.cpp"

    def __init__(self, settings):
        self.settings = settings
        self.wanted = max(int(settings.steps * STRENGTH), 1)
        # asked for n steps at strength s it makes floor(n s) + 1: ask for as many as the others make
        self.steps = next(n for n in range(1, settings.steps + 1) if int(n * STRENGTH) + 1 == self.wanted)

    def command(self, picture, out):
        s = self.settings
        return [s.sdcpp, "--mode", "img_gen", "-m", s.single, "-i", picture, "-o", out, "-p", PROMPT, "-n", "",
                "-W", str(s.size), "-H", str(s.size), "--steps", str(self.steps), "--strength", str(STRENGTH),
                "--cfg-scale", str(GUIDANCE), "--sampling-method", "euler", "--seed", "1", "-t", str(THREADS)]

    def watch(self, line):
        """Its bar says 3/15 after the third step; a step has two branches."""
        found = re.search(r"\| (\d+)/(\d+) - ", line)
        if found is None or int(found[2]) != self.wanted:
            return None
        self.evaluations = 2 * int(found[1])
        return "first" if found[1] == "1" else None


ENGINES = {"libldm": Libldm, "fast": Fast, "diffusers": Diffusers, "sdcpp": StableDiffusionCpp}


def compare(engines, settings, scratch):
    runs = {engine.name: [] for engine in engines}
    for _ in range(settings.runs):
        for engine in engines:
            picture = os.path.join(scratch, "in.png")
            run = run_process(engine.command(picture, os.path.join(scratch, "out.png")), engine.watch)
            runs[engine.name].append(run)
            print(f"{engine.name}: {run['seconds']:.1f} s", flush=True)
    counts = {engine.evaluations for engine in engines}
    if len(counts) > 1:
        raise SystemExit(f"the engines evaluate the denoiser {sorted(counts)} times: not to be compared")
    return [{"engine": name, "seconds": spread([run["seconds"] for run in made]),
             "first": spread([run["found"]["first"][0] for run in made]),
             "peak_mb": max(run["peak_mb"] for run in made), "evaluations": max(counts)}
            for name, made in runs.items()]


def cold_start(settings, scratch):
    """Seconds of `pentimento predict` from nothing, and of the same in a warm process."""
    import numpy
    generator, side = numpy.random.default_rng(1), settings.size // 8
    latent, context, out = (os.path.join(scratch, name) for name in ("z.npy", "context.npy", "out.npy"))
    numpy.save(latent, generator.standard_normal((1, 4, side, side)).astype("f4"))
    numpy.save(context, generator.standard_normal((1, 77, 768)).astype("f4"))
    cold, warm = [], []
    process = subprocess.Popen([settings.bench_model, settings.folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               text=True, env=environment())
    process.stdout.readline()
    for run in range(settings.runs + 1):
        process.stdin.write(f"predict {side}\n")
        process.stdin.flush()
        seconds = float(process.stdout.readline().split()[0])
        if run > 0:  # the first warms up
            warm.append(seconds)
            cold.append(run_process([settings.pentimento, "predict", "-m", settings.folder, "--latent", latent,
                                     "--timestep", "500", "--context", context, "-o", out])["seconds"])
    process.stdin.close()
    process.wait()
    return {"latent": side, "cold": spread(cold), "warm": spread(warm)}


def text_of(rows, start, settings):
    peers = [row for row in rows if not row["engine"].startswith("libldm")]
    head = ["whole process", "s", *(f"of {row['engine']}" for row in peers), "first step done after, s", "peak MB"]
    lines = [[row["engine"], cell(row["seconds"], 1),
              *(f"{row['seconds']['median'] / peer['seconds']['median']:.2f}" for peer in peers),
              cell(row["first"], 1), f"{row['peak_mb']:.0f}"] for row in rows]
    size = settings.size
    text = (f"{machine()}. Image to image, {size}×{size} pixels, strength {STRENGTH}, {settings.steps} steps, guidance "
            f"{GUIDANCE}: {rows[0]['evaluations']} evaluations each; {settings.runs} cold processes each, in turn.\n\n"
            + table(head, lines))
    if start is not None:
        text += (f"\n\nOne ε_θ, {start['latent']}×{start['latent']} latent: {cell(start['cold'], 2)} s from the start of the "
                 f"process to its end, {cell(start['warm'], 2)} s in a warm one.")
    return text


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("pentimento")
    parser.add_argument("bench_model")
    parser.add_argument("folder")
    parser.add_argument("out")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--only", default="libldm,fast,diffusers", help="engines: " + ", ".join(ENGINES))
    parser.add_argument("--fast", help="options of the fast mode",
                        default="--reuse 3" + (" --precision bf16" if "avx512_bf16" in processor()[1] else ""))
    parser.add_argument("--sdcpp", help="stable-diffusion.cpp's program")
    parser.add_argument("--single", help="the model as a single file, for stable-diffusion.cpp")
    return parser.parse_args()


def main():
    from PIL import Image
    settings = arguments()
    engines = [ENGINES[name](settings) for name in settings.only.split(",")]
    with tempfile.TemporaryDirectory() as scratch:
        photo = Image.open(os.path.join(os.environ["PENTIMENTO_TREE"], "demo", "coffee.jpg")).convert("RGB")
        photo.resize((settings.size, settings.size)).save(os.path.join(scratch, "in.png"))
        rows = compare(engines, settings, scratch)
        start = cold_start(settings, scratch) if any(isinstance(engine, Libldm) for engine in engines) else None
    write(settings.out, text_of(rows, start, settings),
          {"size": settings.size, "steps": settings.steps, "rows": rows, "start": start})


if __name__ == "__main__":
    main()
