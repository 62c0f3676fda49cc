"""The real dialogs in a real GIMP: models, Teach, and a style that was taught."""
import shutil

import teach

from harness import *
from screen import *


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
    read_messages()
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
    read_messages()
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
    dialog("GIMP Message")  # had GIMP ended, nobody would see it
    keys("Return")
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
