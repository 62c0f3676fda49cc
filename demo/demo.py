"""Run inside GIMP by demo.sh: the three procedures on the photo, as a script would call them."""
import json
import os
import time

import gi

gi.require_version("Gimp", "3.0")
from gi.repository import Gegl, Gimp, Gio  # noqa: E402

OUT = os.environ["DEMO_OUT"]


def report(line=""):
    with open(os.environ["DEMO_REPORT"], "a") as file:
        print(line, file=file)


def call(name, image=None, layer=None, **arguments):
    """Runs plug-in-pentimento-NAME; returns its layer and seed."""
    procedure = Gimp.get_pdb().lookup_procedure("plug-in-pentimento-" + name)
    if procedure is None:
        raise SystemExit("GIMP does not know the plug-in: run ./dev build")
    config = procedure.create_config()
    if image is not None:
        config.set_property("image", image)
        config.set_core_object_array("drawables", [layer])
    for key, value in arguments.items():
        config.set_property(key.replace("_", "-"), value)
    began = time.monotonic()
    result = procedure.run(config)
    if result.index(0) != Gimp.PDBStatusType.SUCCESS:
        report(f"{name}: {Gimp.get_pdb().get_last_error()}")
        raise SystemExit(name)
    return result.index(1), result.index(2), time.monotonic() - began


def save(image, name):
    flat = image.duplicate()
    flat.flatten()
    path = os.path.join(OUT, name)
    Gimp.file_save(Gimp.RunMode.NONINTERACTIVE, flat, Gio.File.new_for_path(path), None)
    flat.delete()
    return path


def tell(title, layer, seed, seconds, *files):
    """What was made, where it lies, and the time of each stage."""
    data = layer.get_parasite("pentimento-seconds")
    stages = json.loads(bytes(c & 0xff for c in data.get_data())) if data else {}
    order = ("load", "prepare", "condition", "encode", "diffuse", "denoise", "decode", "finish")
    report(f"{title}, seed {seed}: {seconds:.1f} s")
    report("  " + ", ".join(f"{s} {stages[s]:.2f} s" for s in order if s in stages))
    for file in files:
        report("  " + file)


def photo():
    image = Gimp.file_load(Gimp.RunMode.NONINTERACTIVE, Gio.File.new_for_path(os.environ["DEMO_PHOTO"]))
    return image, image.get_layers()[0]


def soft_ellipse(image, x, y, width, height, feather):
    image.select_ellipse(Gimp.ChannelOps.REPLACE, x, y, width, height)
    Gimp.Selection.feather(image, feather)


def main():
    image, layer = photo()
    before = save(image, "before.png")
    soft_ellipse(image, *FILL, 6)
    tell("Fill Selection", *call("inpaint", image, layer, prompt="wood texture", steps=30, seed=4),
         before, save(image, "fill-selection.png"))
    image.delete()

    image, layer = photo()
    soft_ellipse(image, *CHANGE, 10)
    tell("Reimagine", *call("img2img", image, layer, prompt="green leaf", strength=0.9, steps=30, guidance=4.0,
                            seed=4), before, save(image, "reimagine.png"))
    image.delete()

    result = call("generate", prompt="red heart", steps=30, seed=5)
    tell("Generate", *result, save(result[0].get_image(), "generate.png"))


FILL = (470, 60, 80, 70)  # a part of the table: new wood
CHANGE = (455, 290, 120, 90)  # another: leaves
main()
