"""Teach: a LoRA from layers; the image stays as it is, and a killed teaching goes on where it was."""
from harness import *

TEACH = "plug-in-pentimento-teach"
CALLING = Gimp.PDBStatusType.CALLING_ERROR


class Taught:
    def __init__(self, values):
        self.status = values.index(0)
        self.ok = self.status == SUCCESS
        self.path = values.index(1).get_path() if self.ok else None
        self.message = "" if self.ok else Gimp.get_pdb().get_last_error()


def teach(image, layers, **arguments):
    procedure = Gimp.get_pdb().lookup_procedure(TEACH)
    config = procedure.create_config()
    config.set_property("image", image)
    config.set_core_object_array("drawables", list(layers))
    for name, value in {"steps": 2, **arguments}.items():
        config.set_property(name, value)
    return Taught(procedure.run(config))


def adapter(name):
    return os.path.join(os.environ["XDG_DATA_HOME"], "pentimento", "adapters", name + ".safetensors")


def unfinished(name):
    """Names of the checkpoints that an unfinished teaching has left."""
    folder = os.path.join(os.environ["XDG_CACHE_HOME"], "pentimento", "teach", name)
    return [file for _, _, files in os.walk(folder) for file in files if file.startswith("step-")]


def learnt(image, layers, name, **arguments):
    before = state(image)
    answer = teach(image, layers, name=name, **arguments)
    check(answer.ok, f"teaching failed: {answer.message}")
    check(answer.path == adapter(name), f"the file is {answer.path}")
    check(os.path.getsize(answer.path) > 1000, "there is something in it")
    check(state(image) == before, "the image is as it was")
    check(not unfinished(name), "nothing private is left behind")
    return open(answer.path, "rb").read()


def test_layers_and_selection():
    image, layer = photo()
    other = layer.copy()
    image.insert_layer(other, None, 0)
    one = learnt(image, [layer], "my cup", description="a cup of coffee")
    two = learnt(image, [layer, other], "my cup", description="a cup of coffee")
    check(one != two, "what is learnt from two pictures is something else")
    other.set_visible(False)
    visible = learnt(image, [other], "my cup", pictures="visible", description="a cup of coffee")
    check(visible == one, "what is visible is the one layer")
    image.select_rectangle(Gimp.ChannelOps.REPLACE, 20, 20, 50, 40)
    check(learnt(image, [layer], "my cup", pictures="selection") != one, "the selection is another picture")


def test_large_layers():
    """Reduced on their way to what the model needs, and what lies around them left out: it learns the same."""
    image, layer = photo(160, 128, alpha=True)
    Gimp.context_set_interpolation(Gimp.InterpolationType.NONE)
    image.scale(640, 512)  # four times the model's side
    same = learnt(image, [layer], "large")
    image.scale(1920, 1536)
    layer.resize(2200, 1900, 101, 203)
    check(learnt(image, [layer], "large") == same, "three times as large, amid nothing")


def test_colours_of_transparent_pixels():
    """Nobody sees them, in a layer that is reduced no more than in others."""
    import numpy
    side, made = 1024, []
    for hidden in 0, 255:
        image = Gimp.Image.new(side, side, Gimp.ImageBaseType.RGB)
        layer = Gimp.Layer.new(image, "half", side, side, Gimp.ImageType.RGBA_IMAGE, 100, Gimp.LayerMode.NORMAL)
        image.insert_layer(layer, None, 0)
        pixels = numpy.full((side, side, 4), (200, 100, 50, 255), "u1")
        pixels[101:901, 101:901] = hidden, hidden, hidden, 0
        layer.get_buffer().set(whole(layer), "R'G'B'A u8", pixels.tobytes())
        check(floats(layer)[500, 500, 0] == hidden / 255, "it is hidden there")
        made.append(learnt(image, [layer], "half"))
    check(made[0] == made[1], "they are not learnt")


def test_what_a_layer_mask_hides():
    """Is as little learnt as what was erased; a filter counts as it is seen."""
    made = []
    for masked in False, True:
        image, layer = photo(160, 128, alpha=True)
        image.select_rectangle(Gimp.ChannelOps.REPLACE, 0, 0, 40, 128)
        if masked:
            mask = layer.create_mask(Gimp.AddMaskType.WHITE)
            layer.add_mask(mask)
            Gimp.context_set_foreground(Gegl.Color.new("black"))
            mask.edit_fill(Gimp.FillType.FOREGROUND)
            layer.append_filter(Gimp.DrawableFilter.new(layer, "gegl:invert-gamma", "inverted"))
        else:
            layer.append_filter(Gimp.DrawableFilter.new(layer, "gegl:invert-gamma", "inverted"))
            layer.merge_filters()
            layer.edit_clear()
        Gimp.Selection.none(image)
        made.append(learnt(image, [layer], "cut out"))
    check(made[0] == made[1], "it learns the same")


def test_a_group_as_it_is_seen():
    """With its filter and its mask, and whatever its opacity."""
    image, layer = photo(160, 128)
    layer.append_filter(Gimp.DrawableFilter.new(layer, "gegl:invert-gamma", "inverted"))
    layer.merge_filters()
    plain = learnt(image, [layer], "seen")
    image, layer = photo(160, 128)
    group = Gimp.GroupLayer.new(image, "group")
    image.insert_layer(group, None, 0)
    image.reorder_item(layer, group, 0)
    group.append_filter(Gimp.DrawableFilter.new(group, "gegl:invert-gamma", "inverted"))
    group.set_opacity(40)
    group.set_visible(False)
    check(learnt(image, [group], "seen") == plain, "it learns the same")
    check(len(Gimp.get_images()) == 2, "no image is left behind")


def test_repeat_replaces_nothing():
    image, layer = photo()
    before = learnt(image, [layer], "kept")
    folder = os.path.join(os.environ["XDG_STATE_HOME"], "pentimento")
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "last-used"), "w") as file:
        file.write(f"[{TEACH}]\nname=kept\ndescription=\n")
    procedure = Gimp.get_pdb().lookup_procedure(TEACH)
    config = procedure.create_config()
    config.set_property("image", image)
    config.set_core_object_array("drawables", [layer])
    config.set_property("run-mode", Gimp.RunMode.WITH_LAST_VALS)
    answer = Taught(procedure.run(config))
    check(not answer.ok and "was taught before" in answer.message, answer.message)
    check(open(adapter("kept"), "rb").read() == before, "the file is as it was")


def test_memory_too_small():
    """Blank layers take none in GIMP, and 4 GB each on their way."""
    available = next(int(line.split()[1]) * 1024 for line in open("/proc/meminfo") if line.startswith("MemAvailable"))
    image, layer = photo()
    layers = []
    for number in range(available // 2 ** 32 + 2):
        layers.append(Gimp.Layer.new(image, f"wide {number}", 2 ** 19, 512, Gimp.ImageType.RGB_IMAGE, 100,
                                     Gimp.LayerMode.NORMAL))
        image.insert_layer(layers[-1], None, 0)
    answer = teach(image, layers, name="x")
    check(not answer.ok and "MB are free" in answer.message, f"too much: {answer.message}")
    check(not os.path.exists(adapter("x")), "no file comes of it")


def test_refusals():
    image, layer = photo()
    before = state(image)
    for words, arguments, layers in (("needs a name", {"name": ""}, [layer]), ("needs a name", {"name": "a/b"}, [layer]),
                                     ("Nothing is selected", {"name": "x", "pictures": "selection"}, [layer]),
                                     ("no layer", {"name": "x"}, []), ("no-such-model", {"name": "x", "model": "no-such-model"}, [layer])):
        answer = teach(image, layers, **arguments)
        check(not answer.ok and words in answer.message, f"»{answer.message}« does not say »{words}«")
    image.select_rectangle(Gimp.ChannelOps.REPLACE, 20, 20, 3, 3)
    answer = teach(image, [layer], name="x", pictures="selection")
    check(not answer.ok and "pixels" in answer.message, f"too small: {answer.message}")
    image.select_rectangle(Gimp.ChannelOps.REPLACE, 0, 0, 96, 80)
    Gimp.Selection.none(image)
    check(state(image) == before, "a refused run changed something")
    check(not os.path.exists(adapter("x")), "no file comes of it")


def test_killed_and_gone_on():
    image, layer = photo()
    before = state(image)
    killer = kill_later("plug-in", 4)  # as GIMP's Cancel does
    answer = teach(image, [layer], name="killed", steps=60)
    check(killer.wait() == 0, "it was over before it could be killed")
    check(not answer.ok and state(image) == before, "a killed teaching changes nothing")
    for _ in range(50):
        if unfinished("killed"):
            break
        time.sleep(0.1)
    check(unfinished("killed"), "a checkpoint is there")
    learnt(image, [layer], "killed", steps=60)
