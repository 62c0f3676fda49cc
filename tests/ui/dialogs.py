"""The real dialogs in a real GIMP: OK, Undo, Repeat, Cancel while it works."""
import shutil

import teach

from harness import *
from screen import *

DEFAULT_MODEL = os.path.join(os.environ["TEST_HERE"], "..", "..", "data", "models", "default")
EXTEND, FILL, MAKE, MODELS, REIMAGINE, TEACH = range(6)  # places of the entries in the submenu


def content(image):
    """state() without GIMP's own record of last-used values, which is no part of the picture."""
    return [part for number, part in enumerate(state(image)) if number != 4]


def last_used_file():
    return os.path.join(os.environ["XDG_STATE_HOME"], "pentimento", "last-used")


def set_steps(number):
    """Opens the advanced settings and writes the number of steps."""
    keys("alt+v", "alt+e", "ctrl+a")
    write(str(number))
    keys("Tab")


def undo_to(image, before):
    """One Undo takes back what came as new layers: the canvas, too, is as it was."""
    focus_gimp()
    keys("ctrl+z")
    wait_for("undo", lambda: len(image.get_layers()) == 1, 10)
    check(content(image) == before, "one undo restores every byte")


def test_reimagine_undo_redo_repeat():
    image, layer = photo(120, 100)
    feathered(image)
    before = content(image)
    display = show(image)
    choose(REIMAGINE)
    dialog("Reimagine")
    write("a wooden table")
    set_steps(2)
    shot("reimagine")
    keys("alt+o")
    first = result_in(image)
    shot("result")
    check(prompts(first)["prompt"] == "a wooden table", "what was typed is the prompt")
    check(image.get_parasite_list() and not any(
        b"wooden" in bytes(c & 0xff for c in image.get_parasite(name).get_data())
        for name in image.get_parasite_list()), "the prompt is not in the image's record of last values")
    seed = settings(first)["seed"]
    undo_to(image, before)
    keys("ctrl+f")
    again = result_in(image)
    check(prompts(again)["prompt"] == "a wooden table", "Repeat uses the same prompt")
    check(settings(again)["seed"] != seed, "and a new seed")
    check(os.stat(last_used_file()).st_mode & 0o777 == 0o600, "prompts are kept for the user only")
    display.delete()


def replaced_and_undone(precision, base=None):
    image, layer = photo(120, 100, precision=precision, base=base)
    feathered(image)
    before = content(image)
    display = show(image)
    choose(FILL)
    dialog("Fill Selection")
    set_steps(2)
    keys("alt+u", "Down")
    shot("replace")
    keys("alt+o")
    time.sleep(1)
    wait_for("the result", lambda: not processes(PLUG_IN))
    check(content(image) != before, "the picture changed")
    after = content(image)
    check(len(image.get_layers()) == 1, "no new layer")
    focus_gimp()
    keys("ctrl+z")
    wait_for("undo", lambda: content(image) != after, 10)
    check(content(image) == before, "one undo restores every byte")
    keys("ctrl+y")
    wait_for("redo", lambda: content(image) != before, 10)
    check(content(image) == after, "redo brings back every byte")
    shot("redone")
    display.delete()


def test_extend_undo_redo():
    image, layer = photo(120, 100)
    before = content(image)
    display = show(image)
    choose(EXTEND)
    dialog("Extend")
    write("a wooden table")
    keys("alt+i", "Down", "Down")  # to the right
    keys("alt+w", "ctrl+a")
    write("24")
    set_steps(2)
    shot("extend")
    keys("alt+o")
    new = result_in(image)
    shot("extended")
    check((image.get_width(), image.get_height()) == (144, 100), "the canvas grew to the right")
    check(image.get_layers()[1] == layer and layer.get_offsets()[1:] == (0, 0), "the layer lies where it lay")
    after = raw(new), new.get_offsets()[1:], prompts(new)["prompt"]
    undo_to(image, before)
    keys("ctrl+y")
    wait_for("redo", lambda: len(image.get_layers()) == 2 and image.get_width() == 144, 10)
    again = image.get_layers()[0]
    check((raw(again), again.get_offsets()[1:], prompts(again)["prompt"]) == after, "redo brings it back")
    display.delete()


def test_extend_tells_that_it_is_too_much():
    """Beside the dialog, which stays as it was filled in."""
    image, layer = photo(120, 100)
    layer.scale(80000, 3, False)
    display = show(image)
    choose(EXTEND)
    dialog("Extend")
    keys("ctrl+a")
    write("far away")
    keys("alt+i", *["Up"] * 6)  # all around
    keys("alt+w", "ctrl+a")
    write("4096")
    keys("Tab", "alt+o")
    dialog("Not Possible")
    shot("too-much")
    keys("Return")
    dialog("Extend")
    shot("too-much-again")
    keys("Escape")
    wait_for("the end of the plug-in", lambda: not processes(PLUG_IN), 5)
    check(len(image.get_layers()) == 1, "nothing was made")
    display.delete()


def test_locked_layer_is_told_beside_the_dialog():
    image, layer = photo(120, 100)
    layer.set_lock_content(True)
    display = show(image)
    choose(REIMAGINE)
    dialog("Reimagine")
    set_steps(2)
    keys("alt+u", "Down", "alt+o")
    dialog("Not Possible")
    keys("Return")
    dialog("Reimagine")
    keys("alt+u", "Up", "alt+o")
    check(len(result_in(image).get_name()) > 0 and len(image.get_layers()) == 2, "a new layer was chosen instead")
    display.delete()


def height(title):
    """Of a window, without its title bar."""
    geometry = xdotool("getwindowgeometry", xdotool("search", "--onlyvisible", "--name", f"^{title}$")[0])[-1]
    return int(geometry.split("x")[1])


def test_tall_dialog():
    """With all it can show, Extend is taller than the screen: its rows scroll, and its buttons stay there."""
    image, layer = photo(120, 100)
    check(teach.teach(image, [layer], name="my cup", description="a cup of coffee").ok, "taught")
    call_ok(IMG2IMG, image, [layer])
    image.set_selected_layers([layer])
    display = show(image)
    choose(EXTEND)
    dialog("Extend")
    told()
    keys("alt+y", "Down")
    time.sleep(0.5)
    closed = height("Extend")
    keys("alt+v")
    time.sleep(0.5)
    shot("tall")
    for row in 480, 700, 760:  # quality, steps, sampler
        xdotool("mousemove", 700, row)
        time.sleep(0.3)
        xdotool("click", "--repeat", 3, 4, "click", "--repeat", 5, 5)
        time.sleep(0.3)
    shot("tall-wheel")
    check(closed + 150 < height("Extend") < 870, f"{closed}, then {height('Extend')} of the screen's 900 pixels")
    keys("alt+v")
    time.sleep(0.5)
    check(height("Extend") == closed, "as low again as before")
    set_steps(2)
    keys("alt+d", "ctrl+a")
    write("77")
    keys("Tab")
    shot("tall-seed")
    keys("alt+o")
    result_in(image, layers=3)
    made = settings(image.get_layers()[1])
    check(made["seed"] == 77, "reached by its key, though out of sight before")
    check(made["sampler"] == "euler-a" and made["quality"] == "exact", f"the wheel changes nothing on its way: {made}")
    display.delete()


def test_replace_undo_redo_8_bit():
    replaced_and_undone(Gimp.Precision.U8_NON_LINEAR)


def test_replace_undo_redo_half_non_linear():
    replaced_and_undone(Gimp.Precision.HALF_NON_LINEAR)


def test_replace_undo_redo_float_linear():
    replaced_and_undone(Gimp.Precision.FLOAT_LINEAR)


def press_cancel():
    """GIMP's own button, at the right of the status bar. Its place depends a little on the font."""
    for x in range(1010, 930, -10):
        if processes(PLUG_IN):
            xdotool("mousemove", x, 853, "click", 1)
            time.sleep(0.3)
    wait_for("the end of the plug-in", lambda: not processes(PLUG_IN), 5)


def test_cancel_while_it_works():
    image, layer = photo(120, 100, precision=Gimp.Precision.FLOAT_NON_LINEAR)
    feathered(image)
    before = state(image)
    display = show(image)
    choose(REIMAGINE)
    dialog("Reimagine")
    set_steps(1000)
    shot("advanced")
    keys("alt+o")
    wait_for("work", lambda: processes(WORKER) and processes(PLUG_IN), 20)
    time.sleep(2)
    shot("progress")
    check(processes(PLUG_IN), "a thousand steps take a while")
    press_cancel()
    time.sleep(0.5)
    shot("cancelled")
    check(state(image) == before, "the image is byte for byte as it was")
    began = time.monotonic()
    call_ok(IMG2IMG, image, [layer])
    check(time.monotonic() - began < 15, "the worker is free at once")
    display.delete()


def set_pictures(number):
    keys("alt+b", "ctrl+a")
    write(str(number))
    keys("Tab")


def begin_long_picture(image, pictures=1):
    """A thousand steps of Reimagine; waits for the window with the preview, and for a preview to keep."""
    choose(REIMAGINE)
    dialog("Reimagine")
    write("a wooden table")
    set_pictures(pictures)
    set_steps(1000)
    keys("alt+o")
    dialog("Reimagine: at work")
    time.sleep(4)


def test_stop_and_keep():
    image, layer = photo(120, 100)
    feathered(image)
    before = content(image)
    display = show(image)
    begin_long_picture(image)
    shot("preview")
    keys("alt+s")
    kept = result_in(image)
    made = settings(kept)
    check(made["steps"] == 1000 and 1 <= made["steps-taken"] < 600, f"ended early, after {made['steps-taken']} steps")
    shot("kept")
    undo_to(image, before)
    display.delete()


def test_variations():
    image, layer = photo(120, 100)
    before = content(image)
    display = show(image)
    choose(REIMAGINE)
    dialog("Reimagine")
    write("a wooden table")
    set_pictures(3)
    set_steps(2)
    shot("variations-asked")
    keys("alt+o")
    group = result_in(image)
    check(group.is_group() and len(group.get_children()) == 3, "three pictures in a group")
    check([one.get_visible() for one in group.get_children()] == [True, False, False], "the first one shows")
    shot("variations")
    undo_to(image, before)
    display.delete()


def test_stop_the_first_of_several():
    """The one at work is kept, and no more are made."""
    image, layer = photo(120, 100)
    display = show(image)
    begin_long_picture(image, pictures=8)
    shot("variations-at-work")
    keys("alt+s")
    kept = result_in(image)
    check(not kept.is_group() and settings(kept)["steps-taken"] < 600, "one picture, ended early")
    display.delete()


def test_cancel_in_the_window():
    image, layer = photo(120, 100)
    before = content(image)
    display = show(image)
    for key in "alt+c", "Escape":
        if os.path.exists(last_used_file()):
            os.remove(last_used_file())
        begin_long_picture(image)
        keys("Return", "space")  # no button has the focus
        time.sleep(0.5)
        check(processes(PLUG_IN), "a key that is pressed once too often ends nothing")
        keys(key)
        wait_for("the end of the plug-in", lambda: not processes(PLUG_IN), 5)
        time.sleep(0.5)
        check(content(image) == before, "nothing has changed")
        kept = open(last_used_file()).read()
        check("prompt=a wooden table" in kept and "steps=1000" in kept, "prompt and settings are there for another try")
    display.delete()


def test_what_was_asked_is_offered_again():
    """Whatever became of it: here the image was closed while the dialog was open."""
    display = show(photo(120, 100)[0])
    choose(REIMAGINE)
    dialog("Reimagine")
    keys("ctrl+a")
    write("a spoon")
    keys("alt+t", "ctrl+a")
    write("0.3")
    keys("Tab")
    set_steps(3)
    display.delete()
    time.sleep(1)
    dialog("Reimagine")
    keys("alt+o")
    wait_for("the end of the plug-in", lambda: not processes(PLUG_IN), 20)
    dialog("GIMP Message")
    keys("Escape")
    image, layer = photo(120, 100)
    display = show(image)
    keys("ctrl+f")
    again = result_in(image)
    choose(REIMAGINE)
    dialog("Reimagine")
    shot("asked-again")
    keys("alt+o")
    for made in again, result_in(image, layers=3):
        asked = prompts(made)["prompt"], settings(made)["steps"], settings(made)["strength"]
        check(asked == ("a spoon", 3, 0.3), f"prompt and settings of the run that failed: {asked}")
    display.delete()


def test_layer_changed_meanwhile():
    """A layer that is moved takes the result along. Over one of another size it lies where it was meant to; that
    is said."""
    for change, x, y, message in ((lambda layer: layer.set_offsets(9, 7), 9, 7, None),
                                  (lambda layer: layer.resize(100, 90, -11, -5), 0, 0, "GIMP Message")):
        image, layer = photo(120, 100)
        feathered(image)
        new = call_ok(IMG2IMG, image, [layer]).layer
        expected = [new.get_offsets()[1] + x, new.get_offsets()[2] + y]
        image.remove_layer(new)
        display = show(image)
        begin_long_picture(image)
        change(layer)
        keys("alt+s")
        made = result_in(image)
        shot(f"changed-{x}")
        if message:
            dialog(message)
            keys("Return")
        check(list(made.get_offsets()[1:]) == expected, f"it lies at {made.get_offsets()[1:]}, not {expected}")
        display.delete()


def test_layer_that_is_blended():
    """The new layer is not, so that it may look different; that is said, and only then."""
    for mode, opacity in (Gimp.LayerMode.NORMAL, 100), (Gimp.LayerMode.MULTIPLY, 100), (Gimp.LayerMode.NORMAL, 50):
        image, layer = photo(120, 100)
        layer.set_mode(mode)
        layer.set_opacity(opacity)
        display = show(image)
        choose(REIMAGINE)
        dialog("Reimagine")
        set_steps(2)
        keys("alt+o")
        result_in(image)
        said = bool(xdotool("search", "--onlyvisible", "--name", "^GIMP Message$"))
        check(said == (mode != Gimp.LayerMode.NORMAL or opacity < 100), f"{mode} {opacity}: {said}")
        shot("blended")
        if said:
            dialog("GIMP Message")
            keys("Return")
        display.delete()


def test_dialog_cancelled():
    image, layer = photo(120, 100)
    before = state(image)
    display = show(image)
    choose(REIMAGINE)
    dialog("Reimagine")
    keys("Escape")
    wait_for("the end of the plug-in", lambda: not processes(PLUG_IN), 5)
    check(state(image) == before, "nothing has changed")
    display.delete()


def test_generate():
    image, layer = photo(120, 100)
    display = show(image)
    choose(MAKE)
    dialog("Generate")
    write("a red apple")
    set_steps(2)
    shot("generate")
    keys("alt+o")
    check(prompts(result_in(image))["prompt"] == "a red apple", "made from what was typed")
    display.delete()


def test_help():
    """F1 opens the page in the browser, at what the dialog is about."""
    opened = browser()
    image, layer = photo(120, 100)
    display = show(image)
    for entry, title, part in (REIMAGINE, "Reimagine", "reimagine"), (TEACH, "Teach", "teach"):
        choose(entry)
        dialog(title)
        told()
        keys("alt+v" if entry == REIMAGINE else "Tab")
        shot(f"help-{part}")
        keys("F1")
        wait_for("the page", lambda: part in open(opened).read(), 20)
        address = open(opened).read().split()[-1]
        page, anchor = GLib.filename_from_uri(address.split("#")[0])[0], address.split("#")[1]
        check(page.endswith("/help/en/index.html") and f'id="{anchor}"' in open(page).read(), address)
        check(not xdotool("search", "--onlyvisible", "--name", "GIMP Message"), "without a complaint")
        keys("Escape")
        wait_for("the end of the plug-in", lambda: not processes(PLUG_IN), 5)
    display.delete()


def strange_result(image, source, name, notes):
    """A layer that claims to be a result: as in a stranger's image, without prompts."""
    layer = source.copy()
    layer.set_name(name)
    layer.detach_parasite("pentimento-prompts")
    layer.attach_parasite(Gimp.Parasite.new("pentimento-settings", 0, list(notes.encode())))
    image.insert_layer(layer, None, 0)


def test_make_it_like_an_earlier_result():
    """The third in the list, in a group, whose pixels come again; the two above it are strange."""
    image, layer = photo(120, 100)
    feathered(image)
    earlier = call_ok(IMG2IMG, image, [layer], prompt="a wooden table", negative_prompt="cups", seed=5, strength=0.4,
                      sampler="euler", variations=2).layer.get_children()[0]
    strange_result(image, earlier, "of other kinds", json.dumps({
        "steps": -5, "guidance": 1e300, "sampler": "none such", "strength": "much", "seed": 10**12, "model": 7,
        "lora": [{}], "output": "replace", "quality": None}))
    strange_result(image, earlier, "no notes at all", "{")
    image.set_selected_layers([layer])
    display = show(image)
    for down in 3, 2:
        choose(REIMAGINE)
        dialog("Reimagine")
        keys("ctrl+a")
        write("a bench")
        keys("alt+k", *["Down"] * down)
        shot(f"like-{down}")
        keys("alt+o")
        result_in(image, layers=7 - down)
        made = image.get_layers()[6 - down]  # above the photo
        if down == 3:
            check(raw(made) == raw(earlier), "the same pixels")
            check(settings(made) == settings(earlier) and prompts(made) == prompts(earlier), "and the same settings")
        else:
            kept = settings(made)
            check(kept["steps"] == 1 and kept["guidance"] == 30 and kept["sampler"] == "dpmpp-2m" and
                  kept["strength"] == 0.4 and kept["model"] == "" and "lora" not in kept, f"within limits: {kept}")
            check(prompts(made)["prompt"] == "a bench", "what was written stays")
    display.delete()


def test_locked_layer_that_was_to_be_replaced():
    """The dialog opens, so that a new layer can be chosen in it."""
    image, layer = photo(120, 100)
    feathered(image)
    display = show(image)
    choose(FILL)
    dialog("Fill Selection")
    set_steps(2)
    keys("alt+u", "Down", "alt+o")
    wait_for("the result", lambda: not processes(PLUG_IN))
    time.sleep(0.5)
    layer.set_lock_content(True)
    before = raw(layer)
    choose(FILL)
    dialog("Fill Selection")
    keys("alt+u", "Up")
    shot("locked")
    keys("alt+o")
    result_in(image)
    check(raw(layer) == before, "the layer is as it was")
    display.delete()


def test_no_earlier_result_after_all():
    """What was set before comes back; what is set then is what comes back the next time."""
    image, layer = photo(120, 100)
    earlier = call_ok(IMG2IMG, image, [layer], prompt="a wooden table", negative_prompt="forks", seed=5, strength=0.3,
                      sampler="euler-a").layer
    image.set_selected_layers([layer])
    display = show(image)
    choose(REIMAGINE)
    dialog("Reimagine")
    for prompt, steps in ("a bench", 3), ("a chair", 4):
        keys("alt+p", "ctrl+a")
        write(prompt)
        keys(*([] if steps == 3 else ["alt+v"]))  # is open then, and is opened again by set_steps
        set_steps(steps)
        keys("alt+k", "Down")
        shot(f"taken-{steps}")
        keys("Up")
    shot("put-back")
    keys("alt+o")
    result_in(image, layers=3)
    made = image.get_layers()[1]  # above the photo
    kept = settings(made)
    check(prompts(made)["prompt"] == "a chair" and prompts(made)["negative-prompt"] != "forks", "what was written")
    check(kept["steps"] == 4 and kept["sampler"] != "euler-a" and kept["strength"] != 0.3 and kept["seed"] != 5,
          f"and what was set: {kept}")
    display.delete()


def models():
    """The default model under another name, in the user's folder."""
    folder = os.path.join(os.environ["XDG_DATA_HOME"], "pentimento", "models")
    os.makedirs(folder, exist_ok=True)
    if not os.path.exists(os.path.join(folder, "another")):
        os.symlink(os.path.realpath(DEFAULT_MODEL), os.path.join(folder, "another"))


def open_choosers():
    choose(REIMAGINE)
    dialog("Reimagine")
    told()


def test_quality_model_and_what_was_taught():
    image, layer = photo(120, 100)
    check(teach.teach(image, [layer], name="my cup", description="a cup of coffee").ok, "taught")
    with open(taught("broken"), "w") as file:
        file.write("this is no such file")
    models()
    display = show(image)
    open_choosers()
    write("a tea cup")
    keys("alt+y", "space")
    time.sleep(1)
    shot("adapters")
    keys("Escape", "Down")
    time.sleep(1)
    shot("adapter")
    keys("alt+q", "Down", "Down", "Down", "alt+m", "Down")
    told()
    set_steps(2)
    shot("chosen")
    keys("alt+o")
    kept = settings(result_in(image))
    check(kept["lora"] == ["my cup:1"] and kept["quality"] == "draft" and kept["model"] == "another", f"chosen: {kept}")
    display.delete()


def pick(title, path):
    """Writes a path into the open file chooser and accepts it."""
    dialog(title)
    keys("ctrl+l", "ctrl+a")
    write(path)
    until = time.monotonic() + 20
    while xdotool("search", "--onlyvisible", "--name", f"^{title}$") and time.monotonic() < until:
        keys("Return")  # the first may only complete what was written
        time.sleep(1)  # else one too many might reach the dialog below


def test_model_from_elsewhere():
    """Keys that go through the models open no file chooser; the button beside them does."""
    model = os.path.join(os.environ["TEST_FOLDER"], "a model")
    shutil.copytree(DEFAULT_MODEL, model)
    image, layer = photo(120, 100)
    display = show(image)
    open_choosers()
    keys("alt+m", *["Down"] * 5, "End")
    time.sleep(1)
    check(not xdotool("search", "--onlyvisible", "--name", "of a Model$"), "no file chooser")
    keys("Tab", "space")
    time.sleep(1)
    shot("other-model")
    keys("Down", "Return")  # the second: a folder
    dialog("Folder of a Model")
    keys("Escape")
    dialog("Reimagine")
    keys("space", "Down", "Return")
    pick("Folder of a Model", model)
    dialog("Reimagine")
    told()
    set_steps(2)
    shot("model-elsewhere")
    keys("alt+o")
    check(settings(result_in(image))["model"] == model, "the model from elsewhere")
    display.delete()


def test_what_was_taught_deleted():
    image, layer = photo(120, 100)
    check(teach.teach(image, [layer], name="a cup", description="a cup of coffee").ok, "taught")
    with open(taught("other"), "w") as file:
        file.write("this is no such file")
    display = show(image)
    open_choosers()
    keys("alt+y", "Home", "Down")
    for answer, there in (("Escape", True), ("alt+d", False)):
        keys("alt+y", "Tab", "space")
        dialog("Delete")
        shot("delete")
        keys(answer)
        told()
        check(os.path.exists(taught("a cup")) == there, f"{answer} in the question")
    shot("deleted")
    check(os.path.exists(taught("other")), "nothing else goes with it")
    keys("alt+y", "End")
    shot("unreadable")
    keys("Tab", "space")
    dialog("Delete")
    keys("alt+d")
    told()
    check(not os.path.exists(taught("other")), "what cannot be read can be deleted, too")
    set_steps(2)
    keys("alt+o")
    check("lora" not in settings(result_in(image)), "then nothing is chosen")
    display.delete()


def taught(name):
    return os.path.join(os.environ["XDG_DATA_HOME"], "pentimento", "adapters", name + ".safetensors")


def private(name):
    """What an unfinished teaching has left: names of its files."""
    folder = os.path.join(os.environ["XDG_CACHE_HOME"], "pentimento", "teach", name)
    return [file for _, _, files in os.walk(folder) for file in files]


def checkpoints(name):
    return [file for file in private(name) if file.startswith("step-")]


def begin_teaching(name, steps):
    """Opens the dialog and presses Teach; waits until losses have come."""
    choose(TEACH)
    dialog("Teach")
    write(name)
    keys("alt+e", "ctrl+a")
    write(str(steps))
    keys("Tab")
    time.sleep(4)  # for the estimate
    shot("teach")
    keys("alt+t")
    dialog(f"Teaching “{name}”")
    wait_for("learning", lambda: "log.jsonl" in private(name), 20)
    time.sleep(2)


def test_teach_asks_before_it_replaces():
    image, layer = photo(120, 100)
    os.makedirs(os.path.dirname(taught("old")), exist_ok=True)
    with open(taught("old"), "w") as file:
        file.write("taught before")
    display = show(image)
    choose(TEACH)
    dialog("Teach")
    write("old")
    for answer in "Escape", "Return", "alt+c":
        keys("alt+t")
        dialog("Replace")
        shot("replace-taught")
        keys(answer)
        dialog("Teach")
    check(not private("old") and open(taught("old")).read() == "taught before", "nothing was begun")
    keys("alt+t")
    dialog("Replace")
    keys("alt+r")
    dialog("Teaching “old”")
    wait_for("learning", lambda: "log.jsonl" in private("old"), 20)
    time.sleep(2)
    keys("alt+c")
    dialog("Forget")
    keys("alt+f")
    wait_for("the end of the plug-in", lambda: not processes(PLUG_IN), 20)
    check(open(taught("old")).read() == "taught before", "a new teaching that is given up replaces nothing")
    display.delete()


def test_teach_tells_that_a_name_does_not_fit():
    """Beside the dialog, which stays as it was filled in."""
    image, layer = photo(120, 100)
    display = show(image)
    choose(TEACH)
    dialog("Teach")
    keys("ctrl+a", "BackSpace", "alt+e", "ctrl+a")
    write("7")
    keys("Tab")
    for name, answer in ("", "Return"), ("a/b", "Escape"), (".hidden", "alt+b"):
        keys("alt+n", "ctrl+a", "BackSpace")
        write(name)
        keys("alt+t")
        dialog("Not Possible")
        shot("no-name")
        keys(answer)
        dialog("Teach")
    keys("alt+n", "ctrl+a")
    write("fitting")
    keys("alt+t")
    wait_for("the LoRA", lambda: os.path.exists(taught("fitting")))
    wait_for("the end of the plug-in", lambda: not processes(PLUG_IN), 20)
    check("steps=7" in open(last_used_file()).read(), "what was set before is taught with")
    display.delete()


def test_teach_when_the_image_was_closed():
    image, layer = photo(120, 100)
    display = show(image)
    choose(TEACH)
    dialog("Teach")
    write("closed image")
    display.delete()
    time.sleep(1)
    check(not image.is_valid(), "the image is gone")
    keys("alt+t")
    wait_for("the end of the plug-in", lambda: not processes(PLUG_IN), 20)
    dialog("GIMP Message")
    shot("image-closed")
    keys("Escape")
    check(not private("closed image"), "nothing was begun")


def test_generate_when_the_image_was_closed():
    image, layer = photo(120, 100)
    display = show(image)
    choose(MAKE)
    dialog("Generate")
    keys("ctrl+a")  # the prompt of an earlier test
    write("a red ball")
    display.delete()
    time.sleep(1)
    check(not image.is_valid(), "the image is gone")
    keys("alt+o")
    wait_for("another image", lambda: len(Gimp.get_images()) == 1, 60)
    wait_for("the end of the plug-in", lambda: not processes(PLUG_IN), 20)
    time.sleep(0.5)
    shot("generated-anew")
    check(prompts(Gimp.get_images()[0].get_layers()[0])["prompt"] == "a red ball", "the picture is not lost")
    check(xdotool("search", "--onlyvisible", "--name", "128x128"), "and is shown")
    check(not xdotool("search", "--onlyvisible", "--name", "GIMP Message"), "without a complaint")


def worker_seconds():
    """Processor time of the worker."""
    fields = open(f"/proc/{processes(WORKER)[0]}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_teach_paused_and_kept():
    image, layer = photo(120, 100)
    before = content(image)
    display = show(image)
    begin_teaching("a cup", 100)
    wait_for("a sample", lambda: "samples.png" in private("a cup"))
    time.sleep(1)
    shot("teaching")
    keys("alt+p")
    wait_for("the checkpoint", lambda: checkpoints("a cup"), 10)
    time.sleep(1)
    shot("paused")
    spent = worker_seconds()
    time.sleep(2)
    check(worker_seconds() - spent < 0.2, "a paused teaching does not work")
    keys("alt+r")
    time.sleep(3)
    check(worker_seconds() - spent > 0.5, "and goes on")
    shot("resumed")
    check(not os.path.exists(taught("a cup")), "it was not over yet")
    keys("alt+s")
    wait_for("the LoRA", lambda: os.path.exists(taught("a cup")), 20)
    wait_for("the end of the plug-in", lambda: not processes(PLUG_IN), 20)
    shot("taught")
    check(not checkpoints("a cup"), "nothing private is left behind")
    check(content(image) == before, "the image is as it was")
    display.delete()


def test_teach_to_the_end_or_not():
    image, layer = photo(120, 100)
    display = show(image)
    begin_teaching("given up", 1000)
    keys("Return", "space")  # no button has the focus
    time.sleep(1)
    check(processes(PLUG_IN), "a key that is pressed once too often ends nothing")
    for answer in "Escape", "Return", "alt+c":
        keys("alt+c")
        dialog("Forget")
        shot("forget")
        keys(answer)
        dialog("Teaching “given up”")
    check(processes(PLUG_IN), "it goes on where the question was not meant")
    keys("alt+c")
    dialog("Forget")
    keys("alt+f")
    wait_for("the end of the plug-in", lambda: not processes(PLUG_IN), 10)
    check(not checkpoints("given up") and not os.path.exists(taught("given up")), "Cancel forgets")
    begin_teaching("closed", 1000)
    keys("Escape")
    wait_for("the end of the plug-in", lambda: not processes(PLUG_IN), 10)
    check(checkpoints("closed") and not os.path.exists(taught("closed")), "closed, it can go on later")
    choose(TEACH)
    dialog("Teach")
    keys("alt+t")  # the same again, and given up before the model is loaded
    wait_for("its window", lambda: xdotool("search", "--onlyvisible", "--name", "^Teaching"), 10)
    keys("alt+c")
    dialog("Forget")
    keys("Escape", "Escape")
    wait_for("the end of the plug-in", lambda: not processes(PLUG_IN), 10)
    check(checkpoints("closed"), "what was learnt earlier is not forgotten unasked")
    begin_teaching("whole", 4)
    wait_for("the LoRA", lambda: os.path.exists(taught("whole")))
    wait_for("the end of the plug-in", lambda: not processes(PLUG_IN), 20)
    display.delete()


def test_teach_while_the_worker_is_busy():
    """With another model than that of the job at work, the teaching waits in its window, which can be cancelled."""
    models()
    image, layer = photo(120, 100)
    display = show(image)
    begin_long_picture(image, pictures=8)
    picture, = processes(PLUG_IN)
    for key in "alt+c", "Escape":
        choose(TEACH)
        dialog("Teach")
        write("busy")
        keys("alt+m", "Down")
        time.sleep(2)
        keys("alt+t")
        dialog("Teaching “busy”", 5)
        shot("teach-busy")
        keys("alt+p", "Return")
        time.sleep(1)
        check(len(processes(PLUG_IN)) == 2, "it waits, and cannot be paused")
        keys(key)
        wait_for("the end of the teaching", lambda: processes(PLUG_IN) == [picture], 5)
    check(not private("busy"), "nothing was begun")
    dialog("Reimagine: at work")
    keys("alt+c")
    wait_for("the end of the plug-in", lambda: not processes(PLUG_IN), 5)
    display.delete()


def test_teach_cancelled_by_the_worker():
    """As when GIMP ends: the worker cancels of itself, and nobody is there to have it go on."""
    image, layer = photo(120, 100)
    display = show(image)
    begin_teaching("ended", 1000)
    worker, = processes(WORKER)
    os.kill(worker, signal.SIGTERM)
    wait_for("the end of the plug-in", lambda: not processes(PLUG_IN), 10)
    wait_for("the end of the worker", lambda: not processes(WORKER), 10)
    check(checkpoints("ended") and not os.path.exists(taught("ended")), "it can go on later")
    display.delete()


def models_folder():
    return os.path.join(os.environ["XDG_DATA_HOME"], "pentimento", "models")


def own_models():
    return set(os.listdir(models_folder())) if os.path.exists(models_folder()) else set()


def test_models():
    elsewhere = os.path.join(os.environ["TEST_FOLDER"], "elsewhere")
    model = os.path.join(elsewhere, "drawings")
    shutil.copytree(DEFAULT_MODEL, model)
    broken = os.path.join(elsewhere, "broken.safetensors")
    open(broken, "wb").write(b"not a model")
    before = own_models()
    show(photo(120, 100)[0]).delete()
    choose(MODELS)  # no image is open
    dialog("Models")
    told()
    shot("models")

    keys("alt+f")
    pick("File of a Model", broken)
    told()
    shot("models-broken")
    check(own_models() == before, "what is no model is not added")

    dialog("Models")
    keys("alt+o")
    pick("Folder of a Model", model)
    copied = os.path.join(models_folder(), "drawings")
    wait_for("the copy", lambda: os.path.exists(os.path.join(copied, "model_index.json")), 30)
    told()
    dialog("Models")
    shot("models-added")
    check(own_models() == before | {"drawings"}, "nothing else is there")
    for file in ("unet/diffusion_pytorch_model.safetensors", "README.md"):
        check(open(os.path.join(copied, file), "rb").read() == open(os.path.join(model, file), "rb").read(), file)

    keys("alt+l")
    shot("models-licence")
    keys("alt+k", "alt+m")
    time.sleep(2)
    shot("models-checksums")
    keys("alt+r")
    dialog("Remove")
    shot("models-remove")
    keys("alt+r")
    time.sleep(1)
    if os.path.exists(copied):  # no trash in this folder
        dialog("Delete")
        keys("alt+d")
    wait_for("the removal", lambda: not os.path.exists(copied), 10)
    check(os.path.exists(os.path.join(model, "model_index.json")), "what was copied stays")
    dialog("Models")
    keys("alt+c")
    wait_for("the end of the plug-in", lambda: not processes(PLUG_IN), 10)
