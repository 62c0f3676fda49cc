"""What cannot be done is refused in one sentence that says what to do; nothing changes, GIMP lives."""
from harness import *


CALLING = Gimp.PDBStatusType.CALLING_ERROR


def test_no_selection():
    image, layer = photo()
    refused(INPAINT, image, [layer], ["Nothing is selected", "select"], CALLING)


def test_selection_beside_the_layer():
    image, layer = photo()
    image.resize(200, 200, 0, 0)
    image.select_rectangle(Gimp.ChannelOps.REPLACE, 150, 150, 20, 20)
    for task in (INPAINT, IMG2IMG):
        for output in ("new-layer", "replace"):
            refused(task, image, [layer], ["does not touch"], CALLING, output=output)


def test_group():
    image, layer = photo()
    group = Gimp.GroupLayer.new(image, "my group")
    image.insert_layer(group, None, 0)
    image.reorder_item(layer, group, 0)
    feathered(image)
    for task in (INPAINT, IMG2IMG):
        refused(task, image, [group], ["my group", "layer group"], CALLING)


def test_text_layer():
    image, layer = photo()
    text = Gimp.TextLayer.new(image, "words", Gimp.context_get_font(), 20, Gimp.Unit.pixel())
    image.insert_layer(text, None, 0)
    feathered(image, 4, 4, 30, 16)
    for task in (INPAINT, IMG2IMG):
        refused(task, image, [text], ["text layer", "Discard Text Information", "Rasterize", "new layer"], CALLING,
                output="replace")
        before = raw(text)
        made = call_ok(task, image, [text]).layer
        check(raw(text) == before and text.get_text() == "words", "the text stays text")
        image.remove_layer(made)
    call_ok(OUTPAINT, image, [text], sides="right", pixels=16)


def test_several_layers_and_none():
    image, layer = photo()
    other = layer.copy()
    image.insert_layer(other, None, 0)
    feathered(image)
    for task in (INPAINT, IMG2IMG):
        refused(task, image, [layer, other], ["exactly one layer"], CALLING)
        refused(task, image, [], ["exactly one layer"], CALLING)


def test_mask_and_channel():
    image, layer = photo()
    mask = layer.create_mask(Gimp.AddMaskType.WHITE)
    layer.add_mask(mask)
    channel = Gimp.Channel.new(image, "channel", 96, 80, 50, Gegl.Color.new("red"))
    image.insert_channel(channel, None, 0)
    feathered(image)
    for item in (mask, channel):
        refused(IMG2IMG, image, [item], ["channel or a layer mask"], CALLING)


def test_floating_selection():
    image, layer = photo()
    feathered(image, radius=0)
    floating = Gimp.Selection.float(image, [layer], 3, 3)
    refused(IMG2IMG, image, [floating], ["floating selection", "anchor"], CALLING)


def test_locked_pixels():
    image, layer = photo()
    feathered(image)
    layer.set_lock_content(True)
    refused(INPAINT, image, [layer], ["locked", "new layer"], CALLING, output="replace")
    call_ok(INPAINT, image, [layer], output="new-layer")
    group = Gimp.GroupLayer.new(image, "group")
    image.insert_layer(group, None, 0)
    layer.set_lock_content(False)
    image.reorder_item(layer, group, 0)
    group.set_lock_content(True)
    refused(INPAINT, image, [layer], ["locked"], CALLING, output="replace")


def test_model_missing():
    image, layer = photo()
    refused(IMG2IMG, image, [layer], ["no-such-model"], model="no-such-model")
    refused(GENERATE, None, [], ["/nowhere/model"], model="/nowhere/model")


def test_gimp_is_alive():
    image, layer = photo()
    call_ok(IMG2IMG, image, [layer])
    call_ok(GENERATE)
