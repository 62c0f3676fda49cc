"""The real dialogs in a real GIMP: OK, Undo, Repeat, Cancel while it works."""
import shutil

import teach

from harness import *
from screen import *


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
    for entry, title, part in (REIMAGINE, "Reimagine", "reimagine"), (TEACH, "Teach", "teach"), (MODELS, "Models", "models"):
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


def test_selection_dropped_at_the_last_moment():
    """While the picture is being put into a large layer: nothing is, and what lies around it is not touched either."""
    image, layer = photo()
    image.scale(7000, 5000)
    image.select_rectangle(Gimp.ChannelOps.REPLACE, 100, 100, 6800, 4800)
    before = raw(layer)
    display = show(image)
    choose(REIMAGINE)
    dialog("Reimagine")
    set_steps(2)
    keys("alt+u", "Down", "alt+o")
    window = "^Reimagine: at work$"
    wait_for("its window", lambda: xdotool("search", "--onlyvisible", "--name", window))
    wait_for("the picture", lambda: not xdotool("search", "--onlyvisible", "--name", window))
    check(processes(PLUG_IN), "it is at it")
    Gimp.Selection.none(image)
    wait_for("the end of the plug-in", lambda: not processes(PLUG_IN), 60)
    after, above = raw(layer), 100 * 7000 * 3
    check(after[:above] == before[:above], "what lies above it was not selected")
    check(after == before, "nothing was replaced")
    dialog("GIMP Message")
    keys("Return")
    display.delete()
