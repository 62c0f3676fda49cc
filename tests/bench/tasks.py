"""The default model's three tasks in a warm process, and how cost grows with pixels, steps and threads.

    tasks.py PENTIMENTO BENCH_MODEL FOLDER OUT [--runs N] [--steps N] [--size N] [--only tasks,pixels,steps,threads]
"""
import argparse
import os
import subprocess
import tempfile

from measure import cell, environment, event, machine, run_process, spread, table, write

PROMPT = "a red apple on a wooden table"
LATENTS, STEPS = (16, 32, 48, 64, 96), (5, 10, 20, 40)


def pictures(settings, task, steps, scratch):
    """Seconds of every picture of one process but the first, from the end of the one before, file and all."""
    command = [settings.pentimento, task, "--json", "-p", PROMPT, "--steps", str(steps), "--guidance", "4", "--seed", "1",
               "--count", str(settings.runs + 1), "-o", os.path.join(scratch, "out.png")]
    if task == "generate":
        command += ["--size", f"{settings.size}x{settings.size}"]
    else:
        command += ["--strength", "0.75", os.path.join(scratch, "in.png")]
    if task == "inpaint":
        command += ["--mask", os.path.join(scratch, "mask.png")]
    run = run_process(command, lambda line: "done" if event(line).get("event") == "done" else None)
    ends = run["found"]["done"]
    return spread([after - before for before, after in zip(ends, ends[1:])]), run["peak_mb"]


def tasks(settings, scratch):
    rows = []
    for task in ("generate", "img2img", "inpaint"):
        seconds, peak = pictures(settings, task, settings.steps, scratch)
        rows.append({"task": task, "seconds": seconds, "peak_mb": peak})
    return rows


def steps(settings, scratch):
    return [{"steps": n, "seconds": pictures(settings, "generate", n, scratch)[0]} for n in STEPS]


class Model:
    """bench-model, which answers every order with seconds and peak kilobytes."""

    def __init__(self, settings, threads):
        self.process = subprocess.Popen([settings.bench_model, settings.folder], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True,
                                        env=dict(environment(), PENTIMENTO_THREADS=str(threads)))
        self.answer()

    def answer(self):
        seconds, kilobytes = self.process.stdout.readline().split()
        return float(seconds), int(kilobytes) / 1024

    def predict(self, side, runs):
        made = []
        for _ in range(runs + 1):  # the first warms up
            self.process.stdin.write(f"predict {side}\n")
            self.process.stdin.flush()
            made.append(self.answer())
        return spread([seconds for seconds, _ in made[1:]]), made[-1][1]

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def pixels(settings, scratch):
    model, rows = Model(settings, 2), []
    for side in LATENTS:
        seconds, peak = model.predict(side, settings.runs)
        rows.append({"latent": side, "pixels": 8 * side, "seconds": seconds, "peak_mb": peak})
    model.close()
    return rows


def threads(settings, scratch):
    rows = []
    for count in range(1, (os.cpu_count() or 1) + 1):
        model = Model(settings, count)
        rows.append({"threads": count, "seconds": model.predict(32, settings.runs)[0]})
        model.close()
    return rows


def text_of(found, settings):
    parts = [f"{machine()}; {settings.runs} runs each."]
    if "tasks" in found:
        parts += [f"Default model, {settings.size}×{settings.size} pixels, {settings.steps} steps with guidance, strength "
                  "0.75, warm process:",
                  table(["task", "s", "peak MB"],
                        [[row["task"], cell(row["seconds"], 2), f"{row['peak_mb']:.0f}"] for row in found["tasks"]])]
    if "steps" in found:
        parts.append(table(["steps, default model, text to image", "s"],
                           [[str(row["steps"]), cell(row["seconds"], 2)] for row in found["steps"]]))
    if "pixels" in found:
        parts.append(table(["pixels a side, one ε_θ of the SD 1.5 shape", "s", "peak MB"],
                           [[str(row["pixels"]), cell(row["seconds"], 2), f"{row['peak_mb']:.0f}"]
                            for row in found["pixels"]]))
    if "threads" in found:
        parts.append(table(["threads, one ε_θ at 256 pixels a side", "s"],
                           [[str(row["threads"]), cell(row["seconds"], 2)] for row in found["threads"]]))
    return "\n\n".join(parts)


def main():
    from PIL import Image
    measurements = {"tasks": tasks, "steps": steps, "pixels": pixels, "threads": threads}
    parser = argparse.ArgumentParser()
    parser.add_argument("pentimento")
    parser.add_argument("bench_model")
    parser.add_argument("folder")
    parser.add_argument("out")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--only", default=",".join(measurements))
    settings = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        size = (settings.size, settings.size)
        photo = Image.open(os.path.join(os.environ["PENTIMENTO_TREE"], "demo", "coffee.jpg")).convert("RGB")
        photo.resize(size).save(os.path.join(scratch, "in.png"))
        mask, quarter = Image.new("L", size), settings.size // 4
        mask.paste(255, (quarter, quarter, 3 * quarter, 3 * quarter))
        mask.save(os.path.join(scratch, "mask.png"))
        found = {name: measurements[name](settings, scratch) for name in settings.only.split(",")}
    write(settings.out, text_of(found, settings), {"size": settings.size, "steps": settings.steps, **found})


if __name__ == "__main__":
    main()
