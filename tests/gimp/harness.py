"""What the tests inside GIMP share: calling the procedures, reading raw bytes, TAP lines.

A test script defines functions test_NAME(); each makes its own image and checks with `check`.
"""
import json
import os
import re
import signal
import subprocess
import sys
import time
import traceback

import gi

gi.require_version("Gimp", "3.0")
gi.require_version("Gegl", "0.4")
from gi.repository import Gegl, Gimp, Gio, GLib  # noqa: E402

PHOTO = os.path.join(os.environ["TEST_HERE"], "..", "..", "demo", "coffee.jpg")
GENERATE, IMG2IMG, INPAINT, OUTPAINT = ("plug-in-pentimento-" + n for n in ("generate", "img2img", "inpaint", "outpaint"))
QUICK = {"steps": 2, "guidance": 1.0, "prompt": "coffee", "seed": 7}
SUCCESS = Gimp.PDBStatusType.SUCCESS


class Failed(Exception):
    pass


def check(condition, message):
    if not condition:
        raise Failed(message)


def run_script(path):
    """Runs all test_* functions of a script; raises where one failed, so that GIMP's status tells."""
    names = {"__file__": path}
    exec(compile(open(path).read(), path, "exec"), names)
    tests = [(n, f) for n, f in names.items() if n.startswith("test_") and callable(f)]
    wanted = os.environ.get("TEST_ONLY")
    tests = [(n, f) for n, f in tests if not wanted or n in wanted.split(",")]
    failures = 0
    with open(os.environ["TEST_TAP"], "a") as tap:
        print(f"1..{len(tests)}", file=tap, flush=True)
        for number, (name, function) in enumerate(tests, 1):
            began = time.monotonic()
            try:
                function()
                word = "ok"
            except Exception as error:  # noqa: BLE001 - reported, and the next test runs
                failures += 1
                word = "not ok"
                for line in traceback.format_exc().splitlines():
                    print("#", line, file=tap)
                print("#", error, file=tap)
            print(f"{word} {number} - {name} # {time.monotonic() - began:.1f} s"
                  .replace(" # ", " "), file=tap, flush=True)
            for image in Gimp.get_images():
                image.delete()
    if failures:
        raise Failed(f"{failures} of {len(tests)} tests failed")


# ---- calling ------------------------------------------------------------------------------------

class Answer:
    def __init__(self, values):
        self.status = values.index(0)
        self.ok = self.status == SUCCESS
        self.layer = values.index(1) if self.ok else None
        self.seed = values.index(2) if self.ok else None
        self.message = "" if self.ok else Gimp.get_pdb().get_last_error()


def call(procedure, image=None, layers=(), **arguments):
    """Runs a procedure. Arguments by their names, with _ for -; those of QUICK unless given."""
    pdb = Gimp.get_pdb()
    config = pdb.lookup_procedure(procedure).create_config()
    if image is not None:
        config.set_property("image", image)
    config.set_core_object_array("drawables", list(layers))
    for name, value in {**QUICK, **arguments}.items():
        config.set_property(name.replace("_", "-"), value)
    return Answer(pdb.lookup_procedure(procedure).run(config))


def call_ok(*args, **kwargs):
    answer = call(*args, **kwargs)
    check(answer.ok, f"{args[0]} failed: {answer.message}")
    return answer


# ---- images -------------------------------------------------------------------------------------

def photo(width=96, height=80, precision=None, base=None, alpha=False):
    """A part of the real photo, as asked for: (image, layer)."""
    image = Gimp.file_load(Gimp.RunMode.NONINTERACTIVE, Gio.File.new_for_path(PHOTO))
    image.undo_enable()  # a loaded file comes without
    image.crop(width, height, 250, 120)
    if precision is not None and image.get_precision() != precision:
        check(image.convert_precision(precision), "precision could not be converted")
    if base == "gray":
        check(image.convert_grayscale(), "no grey image")
    if base == "indexed":
        check(image.convert_indexed(Gimp.ConvertDitherType.NONE, Gimp.ConvertPaletteType.GENERATE, 64,
                                    False, False, ""), "no indexed image")
    layer = image.get_layers()[0]
    if alpha:
        layer.add_alpha()
    return image, layer


def feathered(image, x=24, y=20, width=40, height=36, radius=9.0):
    """A soft selection; leaves parts untouched, parts soft, parts full."""
    image.select_ellipse(Gimp.ChannelOps.REPLACE, x, y, width, height)
    if radius:
        Gimp.Selection.feather(image, radius)


def whole(drawable):
    return Gegl.Rectangle.new(0, 0, drawable.get_width(), drawable.get_height())


def raw(drawable):
    """A drawable's bytes in its own format."""
    return bytes(drawable.get_buffer().get(whole(drawable), 1.0, None, Gegl.AbyssPolicy.NONE))


def floats(drawable, form="R'G'B'A float"):
    import numpy
    width, height = drawable.get_width(), drawable.get_height()
    data = drawable.get_buffer().get(whole(drawable), 1.0, form, Gegl.AbyssPolicy.NONE)
    return numpy.frombuffer(bytes(data), "<f4").reshape(height, width, -1)


def parasite(item, name):
    """A parasite's JSON; its characters come as signed numbers."""
    return json.loads(bytes(c & 0xff for c in item.get_parasite(name).get_data()))


def settings(layer):
    return parasite(layer, "pentimento-settings")


def prompts(layer):
    return parasite(layer, "pentimento-prompts")


def selection_over(image, layer):
    """The selection's values over a layer, [height, width]."""
    import numpy
    found, x, y = layer.get_offsets()
    rectangle = Gegl.Rectangle.new(x, y, layer.get_width(), layer.get_height())
    data = image.get_selection().get_buffer().get(rectangle, 1.0, "Y float", Gegl.AbyssPolicy.NONE)
    return numpy.frombuffer(bytes(data), "<f4").reshape(layer.get_height(), layer.get_width())


def state(image):
    """All that a failed run must leave as it was."""
    layers = [(layer.get_id(), layer.get_name(), layer.get_offsets()[1:], raw(layer),
               raw(layer.get_mask()) if layer.get_mask() else None, sorted(layer.get_parasite_list()))
              for layer in image.get_layers()]
    return (layers, raw(image.get_selection()), [c.get_id() for c in image.get_channels()],
            [layer.get_id() for layer in image.get_selected_layers()], sorted(image.get_parasite_list()),
            image.get_precision(), image.get_base_type(), image.get_width(), image.get_height())


# ---- refusals ----------------------------------------------------------------------------------

def refused(procedure, image, layers, words, status=None, **arguments):
    """The call fails with a message that holds `words`, and the image is as it was."""
    before = state(image) if image is not None else None
    answer = call(procedure, image, layers, **arguments)
    check(not answer.ok, f"{procedure} should have refused")
    check(status is None or answer.status == status, f"status {answer.status}")
    for word in words:
        check(word in answer.message, f"»{answer.message}« does not say »{word}«")
    check(answer.message and "\n" not in answer.message and answer.message.endswith(".") and
          not re.match("[a-z]+ ", answer.message), f"one sentence: {answer.message}")
    if image is not None:
        check(state(image) == before, "a refused run changed something")


# ---- processes ----------------------------------------------------------------------------------

def processes(executable):
    """Ids of this test's processes of a program: those that carry our temporary folder."""
    found = []
    mark = ("PENTIMENTO_WORKER_SOCKET=" + os.environ["PENTIMENTO_WORKER_SOCKET"]).encode()
    for entry in os.listdir("/proc"):
        try:
            if entry.isdigit() and os.path.realpath(f"/proc/{entry}/exe") == os.path.realpath(executable) \
                    and mark in open(f"/proc/{entry}/environ", "rb").read().split(b"\0"):
                found.append(int(entry))
        except OSError:
            pass
    return found


PLUG_IN = os.path.join(os.environ["TEST_PLUG_IN_ROOT"], "pentimento", "pentimento")
WORKER = os.environ["TEST_WORKER"]


PYTHON = sys.executable if "python" in sys.executable else "python3"


def kill_later(what, delay, number=signal.SIGKILL):
    """Another process that kills the plug-in or the worker `delay` seconds after the plug-in of the
    next call has started. Its exit status is 0 where it killed."""
    code = ("import sys; sys.path.insert(0, sys.argv[1]); import harness; "
            "harness.kill_when_running(sys.argv[2], float(sys.argv[3]), int(sys.argv[4]))")
    return subprocess.Popen([PYTHON, "-c", code, os.environ["TEST_HERE"], what, str(delay), str(int(number))],
                            start_new_session=True)


def kill_when_running(what, delay, number):
    until = time.monotonic() + 20
    while not (processes(PLUG_IN) and processes(WORKER)):
        if time.monotonic() > until:
            sys.exit(1)
        time.sleep(0.01)
    time.sleep(delay)
    victims = processes(PLUG_IN if what == "plug-in" else WORKER)
    for victim in victims:
        os.kill(victim, number)
    sys.exit(0 if victims else 1)
