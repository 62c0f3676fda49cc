"""Extend: what lies beyond a layer is made, the canvas grows with it, and nothing that was there changes."""
import numpy

from harness import *

MARGINS = {"left": (1, 0, 0, 0), "right": (0, 1, 0, 0), "top": (0, 0, 1, 0), "bottom": (0, 0, 0, 1),
           "left-right": (1, 1, 0, 0), "top-bottom": (0, 0, 1, 1), "all": (1, 1, 1, 1)}  # left, right, top, bottom


def blend(width, height, sides, pixels, overlap):
    """The layer mask: min(1, 2 s), s = 1 beyond the layer and falling to 0 over the overlap within it."""
    left, right, top, bottom = (pixels * side for side in MARGINS[sides])
    y, x = numpy.mgrid[:top + height + bottom, :left + width + right]
    inside = numpy.full(y.shape, 1e9)
    for moves, distance in ((left, x - left), (right, left + width - 1 - x), (top, y - top), (bottom, top + height - 1 - y)):
        if moves:
            inside = numpy.minimum(inside, distance)
    s = numpy.where(inside < 0, 1, 0 if overlap == 0 else numpy.clip(1 - (inside + 0.5) / max(overlap, 1), 0, 1))
    return numpy.minimum(1, 2 * s)


def over_frame(layer, frame_x, frame_y, shape):
    """The layer's mask where the frame is, 0 where the layer is not."""
    found = numpy.zeros(shape)
    x, y = layer.get_offsets()[1:]
    mask = floats(layer.get_mask(), "Y float")[..., 0]
    found[y - frame_y:y - frame_y + mask.shape[0], x - frame_x:x - frame_x + mask.shape[1]] = mask
    return found


def test_each_side():
    for sides, (left, right, top, bottom) in MARGINS.items():
        image, layer = photo()
        before = raw(layer)
        answer = call_ok(OUTPAINT, image, [layer], sides=sides, pixels=16, overlap=8)
        new = answer.layer
        check((image.get_width(), image.get_height()) == (96 + 16 * (left + right), 80 + 16 * (top + bottom)),
              f"{sides}: the canvas is {image.get_width()} x {image.get_height()}")
        check(layer.get_offsets()[1:] == (16 * left, 16 * top), f"{sides}: everything moved with it")
        check(raw(layer) == before and image.get_layers() == [new, layer], f"{sides}: the layer is as it was, below the new one")
        wanted = blend(96, 80, sides, 16, 8)
        found = over_frame(new, 0, 0, wanted.shape)
        check(abs(found - wanted).max() <= 0.51 / 255, f"{sides}: the blend is 1 beyond the layer and falls within it")
        made = floats(new)
        check((made[..., 3] == 1).all() and made[..., :3].std() > 0.01, f"{sides}: an opaque picture")


def test_as_filled_by_hand():
    """The same picture as by Canvas Size and Fill Selection."""
    image, layer = photo()
    extended = call_ok(OUTPAINT, image, [layer], sides="right", pixels=32, overlap=0).layer
    other, source = photo()
    other.resize(128, 80, 0, 0)
    source.add_alpha()
    source.resize_to_image_size()
    other.select_rectangle(Gimp.ChannelOps.REPLACE, 96, 0, 32, 80)
    filled = call_ok(INPAINT, other, [source]).layer
    check(extended.get_offsets()[1:] == filled.get_offsets()[1:], "the same place")
    check(raw(extended) == raw(filled) and raw(extended.get_mask()) == raw(filled.get_mask()), "the same bytes")


def test_within_the_canvas():
    image, layer = photo()
    image.resize(200, 160, 50, 40)
    answer = call_ok(OUTPAINT, image, [layer], pixels=16, overlap=4)
    check((image.get_width(), image.get_height()) == (200, 160), "there is room: the canvas stays")
    check(layer.get_offsets()[1:] == (50, 40), "and so does the layer")
    wanted = blend(96, 80, "all", 16, 4)
    check(abs(over_frame(answer.layer, 34, 24, wanted.shape) - wanted).max() <= 0.51 / 255, "the new one lies around it")


def test_partly_beyond_the_canvas():
    image, layer = photo()
    below = Gimp.Layer.new(image, "below", 20, 20, Gimp.ImageType.RGBA_IMAGE, 100, Gimp.LayerMode.NORMAL)
    image.insert_layer(below, None, 1)
    below.set_offsets(5, 6)
    layer.set_offsets(-4, 8)
    call_ok(OUTPAINT, image, [layer], sides="left", pixels=16, overlap=4)
    check((image.get_width(), image.get_height()) == (116, 80), f"{image.get_width()} x {image.get_height()}")
    check(layer.get_offsets()[1:] == (16, 8) and below.get_offsets()[1:] == (25, 6), "all layers moved alike")


def test_beyond_the_canvas_where_nothing_moves():
    """A layer that is larger than the canvas stays cut off on its other sides."""
    image, layer = photo()
    image.resize(64, 50, -10, -12)
    call_ok(OUTPAINT, image, [layer], sides="right", pixels=16, overlap=4)
    check((image.get_width(), image.get_height()) == (96 - 10 + 16, 50), f"{image.get_width()} x {image.get_height()}")
    check(layer.get_offsets()[1:] == (-10, -12), "nothing moved")


def test_inside_a_group_with_a_mask():
    image, layer = photo()
    mask = layer.create_mask(Gimp.AddMaskType.WHITE)
    layer.add_mask(mask)
    image.select_rectangle(Gimp.ChannelOps.REPLACE, 0, 0, 96, 40)
    Gimp.context_set_foreground(Gegl.Color.new("black"))
    mask.edit_fill(Gimp.FillType.FOREGROUND)
    group = Gimp.GroupLayer.new(image, "group")
    image.insert_layer(group, None, 0)
    image.reorder_item(layer, group, 0)
    group.transform_translate(3, 5)
    new = call_ok(OUTPAINT, image, [layer], sides="left", pixels=16, overlap=8).layer
    check(group.get_children() == [new, layer] and image.get_width() == 96 + 13, "above the layer, in its group")
    wanted = blend(96, 80, "left", 16, 8)
    wanted[:40, 16:] = 0
    x, y = layer.get_offsets()[1:]
    check(abs(over_frame(new, x - 16, y, wanted.shape) - wanted).max() <= 0.51 / 255, "what hides the layer hides the seam")


def test_the_overlap_leaves_the_middle():
    image, layer = photo(32, 40)
    new = call_ok(OUTPAINT, image, [layer], pixels=16, overlap=1000).layer
    wanted = blend(32, 40, "all", 16, 8)
    check(abs(over_frame(new, 0, 0, wanted.shape) - wanted).max() <= 0.51 / 255, "a quarter of the smaller side at most")
    made = settings(new)
    check((made["task"], made["sides"], made["pixels"], made["overlap"]) == ("inpaint", "all", 16, 1000), f"{made}")


def test_learnt_before():
    image, layer = photo()
    plain = call_ok(OUTPAINT, image, [layer], sides="right", pixels=16).layer
    other, source = photo()
    learnt = call_ok(OUTPAINT, other, [source], sides="right", pixels=16, learn=3).layer
    check(raw(learnt) != raw(plain), "three steps make another picture")


def test_the_selection_does_not_count():
    image, layer = photo()
    first = call_ok(OUTPAINT, image, [layer], sides="top", pixels=16).layer
    other, source = photo()
    feathered(other)
    second = call_ok(OUTPAINT, other, [source], sides="top", pixels=16).layer
    check(raw(first) == raw(second) and raw(first.get_mask()) == raw(second.get_mask()), "the same with a selection and without")
    check(floats(other.get_selection(), "Y float")[36 + 16 - 10, 44] > 0.5, "which moved with the picture")


def test_variations_and_kinds():
    image, layer = photo(precision=Gimp.Precision.FLOAT_LINEAR)
    group = call_ok(OUTPAINT, image, [layer], sides="bottom", pixels=16, variations=2).layer
    check(group.is_group() and len(group.get_children()) == 2 and image.get_height() == 96, "a group, one canvas")
    for base in ("gray", "indexed"):
        image, layer = photo(base=base)
        new = call_ok(OUTPAINT, image, [layer], sides="bottom", pixels=16).layer
        check(image.get_height() == 96 and floats(new)[..., 3].min() == 1, f"{base} images, too")


def test_refusals():
    image, layer = photo()
    group = Gimp.GroupLayer.new(image, "my group")
    image.insert_layer(group, None, 0)
    refused(OUTPAINT, image, [group], ["my group", "layer group"], Gimp.PDBStatusType.CALLING_ERROR)
    refused(OUTPAINT, image, [], ["exactly one layer"], Gimp.PDBStatusType.CALLING_ERROR)
    refused(OUTPAINT, image, [layer], ["no such model"], model="no such model")
    wide = Gimp.Layer.new(image, "wide", 100000, 2, Gimp.ImageType.RGB_IMAGE, 100, Gimp.LayerMode.NORMAL)
    image.insert_layer(wide, None, 0)
    refused(OUTPAINT, image, [wide], ["108192 × 8194", "fewer pixels"], Gimp.PDBStatusType.CALLING_ERROR, pixels=4096)
