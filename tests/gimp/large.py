"""Layers far larger than what is worked on in them."""
from harness import *

LARGE = 300000, 1000  # more pixels than can be worked on at once


def test_a_part_of_a_large_layer():
    """Far away from what is selected nothing counts: what lies there may as well be missing."""
    for task, output in (INPAINT, "new-layer"), (IMG2IMG, "new-layer"), (INPAINT, "replace"):
        image, layer = photo()
        image.scale(4000, 200)
        feathered(image, 2600, 60, 120, 90)
        part = image.duplicate()
        part.crop(768, 200, 2304, 0)
        whole, small = (call_ok(task, each, each.get_layers()[:1], output=output).layer for each in (image, part))
        if output == "replace":
            check(raw(small) != raw(whole), "they are not as large")
            image.crop(768, 200, 2304, 0)
        else:
            x, y = small.get_offsets()[1:]
            check(list(whole.get_offsets()[1:]) == [x + 2304, y], "it lies where it belongs")
            check(raw(whole.get_mask()) == raw(small.get_mask()), "as much is blended")
        check(raw(whole) == raw(small), f"{task} {output}: the same bytes")
        part.delete()
        image.delete()


def test_a_layer_that_is_too_large():
    """A part of it can be filled all the same."""
    image = Gimp.Image.new(*LARGE, Gimp.ImageBaseType.GRAY)
    layer = Gimp.Layer.new(image, "wide", *LARGE, Gimp.ImageType.GRAY_IMAGE, 100, Gimp.LayerMode.NORMAL)
    image.insert_layer(layer, None, 0)
    answer = call(IMG2IMG, image, [layer])
    check(not answer.ok and "300000 × 1000 pixels" in answer.message and "select" in answer.message, answer.message)
    image.select_rectangle(Gimp.ChannelOps.REPLACE, 200000, 400, 60, 50)
    new = call_ok(INPAINT, image, [layer]).layer
    x, y = new.get_offsets()[1:]
    check(199000 < x <= 200000 and y <= 400, f"it lies at {x}, {y}")
    mask = floats(new.get_mask(), "Y float")[..., 0]
    check(mask.sum() == 60 * 50 and mask[400 - y:450 - y, 200000 - x:200060 - x].all(), "what is selected is meant")
