"""Quality, what was taught, and the model: as scripts choose them."""
import numpy
import teach

from harness import *

LONGER = {"steps": 6, "guidance": 3.0}


def made(procedure=IMG2IMG, **arguments):
    """The new layer, on a fresh image."""
    image, layer = photo()
    feathered(image)
    return call_ok(procedure, image, [layer], **{**LONGER, **arguments}).layer


def taught(name="my cup"):
    image, layer = photo()
    answer = teach.teach(image, [layer], name=name, description="a cup of coffee", steps=12)
    check(answer.ok, f"teaching failed: {answer.message}")
    return answer.path


def test_quality():
    for task in (IMG2IMG, INPAINT, GENERATE):
        exact, draft = made(task), made(task, quality="draft")
        check(settings(exact)["quality"] == "exact" and settings(draft)["quality"] == "draft", "the layer tells of it")
        pixels = floats(draft)
        check(numpy.isfinite(pixels).all() and pixels[..., :3].std() > 0.01, "a draft is a picture")
        check(pixels.shape == floats(exact).shape and draft.get_offsets() == exact.get_offsets(), "of the same place")
        check(raw(draft) != raw(exact), f"{task}: a draft is another picture than the best one")
        check(raw(made(task, quality="draft")) == raw(draft), "and the same each time")


def test_quality_unknown():
    config = Gimp.get_pdb().lookup_procedure(IMG2IMG).create_config()
    config.set_property("quality", "excellent")
    check(config.get_property("quality") == "exact", "GIMP keeps what is none of the choices away")


def test_adapter():
    path, plain = taught(), made()
    named = made(adapter="my cup", adapter_weight=2.0)
    check(settings(named)["lora"] == ["my cup:2"] and "lora" not in settings(plain), "the layer tells of it")
    check(raw(named) != raw(plain), "what was taught has an effect")
    check(raw(made(adapter=path, adapter_weight=2.0)) == raw(named), "by its path it has the same one")
    check(raw(made(adapter="my cup", adapter_weight=0.0)) == raw(plain), "with weight 0 none")
    check(raw(made(adapter="", adapter_weight=2.0)) == raw(plain), "without a name none")
    for task in (GENERATE, INPAINT):
        check(settings(made(task, adapter="my cup"))["lora"] == ["my cup:1"], "the other tasks take it, too")


def test_adapter_unknown():
    image, layer = photo()
    refused(IMG2IMG, image, [layer], ["no LoRA", "nobody", "adapters"], adapter="nobody")
    refused(IMG2IMG, image, [layer], ["/nowhere/x.safetensors"], adapter="/nowhere/x.safetensors")
    folder = os.path.join(os.environ["XDG_DATA_HOME"], "pentimento", "adapters")
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "broken.safetensors"), "w") as file:
        file.write("this is no such file")
    refused(INPAINT, *selected(), ["broken.safetensors"], adapter="broken")


def selected():
    image, layer = photo()
    feathered(image)
    return image, [layer]


def test_model_by_name():
    """A folder among the user's models, by its name."""
    source = os.path.join(os.environ["TEST_HERE"], "..", "..", "data", "models", "default")
    models = os.path.join(os.environ["XDG_DATA_HOME"], "pentimento", "models")
    os.makedirs(models)
    os.symlink(os.path.realpath(source), os.path.join(models, "another"))
    check(raw(made(model="another")) == raw(made()), "it is the same model")
    check(settings(made(model="another"))["model"] == "another", "the layer tells of it")
