"""Several pictures of one call: the same ones as by single calls, in a group, in one undo step."""
from harness import *


def test_edit_in_a_group():
    image, layer = photo()
    feathered(image)
    single = [call_ok(IMG2IMG, image, [layer], seed=seed).layer for seed in (7, 8, 9)]
    made = [(raw(one), raw(one.get_mask()), settings(one), one.get_offsets()[1:]) for one in single]
    for one in single:
        image.remove_layer(one)
    before = state(image)
    answer = call_ok(IMG2IMG, image, [layer], seed=7, variations=3)
    group = answer.layer
    check(group.is_group() and image.get_layers() == [group, layer], "a group above the source is returned")
    check(answer.seed == 7, "with the first one's seed")
    several = group.get_children()
    check([(raw(one), raw(one.get_mask()), settings(one), one.get_offsets()[1:]) for one in several] == made,
          "pictures, masks, settings and places are those of single calls, seed by seed")
    check([one.get_visible() for one in several] == [True, False, False], "the first one shows")
    check([l.get_id() for l in image.get_selected_layers()] == [layer.get_id()], "selected layer kept")
    image.remove_layer(group)
    check(state(image) == before, "nothing else has changed")


def test_generate_in_a_new_image():
    answer = call_ok(GENERATE, variations=2, seed=GLib.MAXINT32)
    image = answer.layer.get_image()
    several = answer.layer.get_children()
    check([settings(one)["seed"] for one in several] == [GLib.MAXINT32, 0], "seeds go on from 0 behind the last")
    check(image.get_selected_layers() == several[:1], "the one that shows is selected")
    check((image.get_width(), image.get_height()) == (several[1].get_width(), several[1].get_height()), "as large")
    check(raw(several[0]) != raw(several[1]), "they differ")


def test_only_one_replaces():
    image, layer = photo()
    answer = call_ok(IMG2IMG, image, [layer], output="replace", variations=5)
    check(answer.layer == layer and image.get_layers() == [layer], "the layer itself")


def test_indexed_images_have_no_groups():
    image, layer = photo(base="indexed")
    first = call_ok(IMG2IMG, image, [layer], variations=2).layer
    check([settings(one)["seed"] for one in image.get_layers()[:2]] == [7, 8], "one below the other")
    check(image.get_layers()[0] == first and image.get_layers()[2] == layer, "above the source")
    check([one.get_visible() for one in image.get_layers()] == [True, False, True], "one of them shows")


def test_generated_into_an_indexed_image():
    image, layer = photo(base="indexed")
    first = call_ok(GENERATE, image, [layer], variations=2, width=48, height=40).layer
    check([settings(one)["seed"] for one in image.get_layers()[:2]] == [7, 8], "the first one on top")
    check(image.get_layers()[0] == first and first.get_visible(), "and it shows")


def test_inside_a_group():
    image, layer = photo()
    outer = Gimp.GroupLayer.new(image, "outer")
    image.insert_layer(outer, None, 0)
    image.reorder_item(layer, outer, 0)
    group = call_ok(INPAINT, feathered(image) or image, [layer], variations=2).layer
    check(outer.get_children() == [group, layer] and len(group.get_children()) == 2, "a group beside the source")
