"""The three procedures on a photo: what they return, where the result lies, what it carries."""
import json
import os

import numpy

from harness import *


def native_size():
    """The default model's: the denoiser's cells a side, times pixels a cell."""
    model = os.path.join(os.environ["TEST_HERE"], "..", "..", "data", "models", "default")
    unet, vae = (json.load(open(os.path.join(model, part, "config.json"))) for part in ("unet", "vae"))
    return unet["sample_size"] * 2 ** (len(vae["block_out_channels"]) - 1 + vae.get("haar_stem", False))


def test_generate_without_an_image():
    answer = call_ok(GENERATE, prompt="a red apple")
    image = answer.layer.get_image()
    check(answer.seed == 7, "the seed is returned")
    check((image.get_width(), image.get_height()) == (native_size(),) * 2, "0 x 0 is the model's native size")
    check(answer.layer.get_offsets()[1:] == (0, 0), "the layer fills the image")
    check(floats(answer.layer)[..., :3].std() > 0.01, "the picture is not empty")
    check((floats(answer.layer)[..., 3] == 1).all(), "the picture is opaque")
    check(image.get_selected_layers() == [answer.layer], "a new image's only layer is selected")


def test_generate_adds_a_layer_in_the_middle():
    image, layer = photo(96, 80)
    before = raw(layer)
    answer = call_ok(GENERATE, image, [layer], width=48, height=40)
    check(image.get_layers() == [answer.layer, layer], "the new layer lies above the selected one")
    check((answer.layer.get_width(), answer.layer.get_height()) == (48, 40), "its size is as asked for")
    check(answer.layer.get_offsets()[1:] == (24, 20), "it lies in the middle")
    check(raw(layer) == before, "the old layer is untouched")


def test_generate_draws_a_new_seed():
    one, two = (call_ok(GENERATE, seed=-1) for _ in range(2))
    check(one.seed >= 0 and two.seed >= 0 and one.seed != two.seed, "seeds are new each time")
    check(settings(one.layer)["seed"] == one.seed, "the seed used is the seed recorded")
    check("steps-taken" not in settings(one.layer), "all its steps were taken")
    again = call_ok(GENERATE, seed=one.seed)
    check(raw(again.layer) == raw(one.layer), "the seed that was returned makes the same picture")
    check(raw(two.layer) != raw(one.layer), "another seed makes another picture")


def test_img2img_of_a_layer():
    image, layer = photo()
    before = state(image)
    answer = call_ok(IMG2IMG, image, [layer], strength=0.7)
    new = answer.layer
    check(image.get_layers() == [new, layer], "directly above its source")
    check((new.get_width(), new.get_height()) == (96, 80), "as large as its source")
    check((floats(new.get_mask(), "Y float") == 1).all(), "without a selection everything is meant")
    check(not new.get_edit_mask(), "the picture, not the mask, is what the user edits next")
    check(raw(new) != raw(layer), "the picture differs")
    check([l.get_id() for l in image.get_selected_layers()] == [layer.get_id()], "selected layer kept")
    image.remove_layer(new)
    check(state(image) == before, "nothing else has changed")


def test_img2img_strength_0_is_the_source():
    image, layer = photo()
    answer = call_ok(IMG2IMG, image, [layer], strength=0.0)
    check(abs(floats(answer.layer) - floats(layer)).max() <= 0.5 / 255, "strength 0 keeps the picture")


def test_filters_of_the_layer():
    """A new layer goes by what is seen, and what changes the pixels themselves by these: the filters come on top again."""
    for arguments in {}, {"base": "gray"}, {"precision": Gimp.Precision.FLOAT_LINEAR}, {"alpha": True}:
        image, layer = photo(**arguments)
        layer.set_offsets(7, -5)
        layer.set_lock_position(True)
        plain = floats(layer)
        layer.append_filter(Gimp.DrawableFilter.new(layer, "gegl:invert-gamma", "inverted"))
        image.clean_all()
        before = state(image)
        new = call_ok(IMG2IMG, image, [layer], strength=0.0).layer
        check(abs(floats(new)[..., :3] - (1 - plain[..., :3])).max() <= 1.5 / 255, f"{arguments}: what is seen")
        image.remove_layer(new)
        check(state(image) == before and len(Gimp.get_images()) == 1, "nothing else has changed")
        call_ok(IMG2IMG, image, [layer], strength=0.0, output="replace")
        check(abs(floats(layer) - plain).max() <= 0.5 / 255, f"{arguments}: what the layer holds")
        check(len(layer.get_filters()) == 1, "the filter stays")
        image.delete()


def test_an_image_with_our_mark():
    """A stranger's file may hold what marks our own images in passing: it stays open."""
    image, layer = photo()
    image.attach_parasite(Gimp.Parasite.new("pentimento-scratch", 1, list(b"4194305")))  # no process has that number
    file = Gio.File.new_for_path(os.path.join(os.environ["TEST_FOLDER"], "marked.xcf"))
    check(Gimp.file_save(Gimp.RunMode.NONINTERACTIVE, image, file, None), "saved")
    image.delete()
    opened = Gimp.file_load(Gimp.RunMode.NONINTERACTIVE, file)
    check(opened.get_parasite("pentimento-scratch") is not None, "the mark came with it")
    image, layer = photo()
    layer.append_filter(Gimp.DrawableFilter.new(layer, "gegl:invert-gamma", "inverted"))
    call_ok(IMG2IMG, image, [layer])
    check(opened.is_valid(), "the opened image is still there")


def test_inpaint_a_soft_selection():
    image, layer = photo()
    feathered(image)
    before = state(image)
    answer = call_ok(INPAINT, image, [layer])
    new = answer.layer
    x, y = new.get_offsets()[1:]
    height, width = new.get_height(), new.get_width()
    wanted = numpy.minimum(1, 2 * selection_over(image, layer))[y:y + height, x:x + width]
    check(abs(floats(new.get_mask(), "Y float")[..., 0] - wanted).max() <= 0.51 / 255,
          "the layer mask is min(1, 2 s)")
    outside = selection_over(image, layer).copy()
    outside[y:y + height, x:x + width] = 0
    check(outside.max() == 0, "the layer covers the selection")
    image.remove_layer(new)
    check(state(image) == before, "source, selection and selected layer are as before")


def test_selections_far_apart():
    """One layer over both; what lies between is not touched."""
    image, layer = photo()
    image.scale(1400, 160)
    image.select_rectangle(Gimp.ChannelOps.REPLACE, 100, 60, 30, 40)
    image.select_ellipse(Gimp.ChannelOps.ADD, 1230, 20, 50, 40)
    chosen = selection_over(image, layer)
    new = call_ok(INPAINT, image, [layer]).layer
    x, y = new.get_offsets()[1:]
    mask = floats(new.get_mask(), "Y float")[..., 0]
    there = numpy.minimum(1, 2 * chosen)[y:y + mask.shape[0], x:x + mask.shape[1]]
    check(abs(mask - there).max() <= 0.51 / 255, "the layer mask is the selection")
    check(mask.sum() > 0.99 * numpy.minimum(1, 2 * chosen).sum(), "all of it")
    between = (mask == 0)[:, 400:900]
    check(between.all(), "nothing between is meant")
    made, before = floats(new)[..., :3], floats(layer)[y:y + mask.shape[0], x:x + mask.shape[1], :3]
    check(abs(made - before)[:, 400:900].max() <= 0.51 / 255, "there the layer shows what lies below")
    check(abs(made - before)[:, :300][mask[:, :300] > 0].mean() > 0.001 and
          abs(made - before)[:, 1000:][mask[:, 1000:] > 0].mean() > 0.001, "both are made anew")


def test_what_a_layer_mask_hides_stays_hidden():
    image, layer = photo()
    layer.set_offsets(6, -4)
    mask = layer.create_mask(Gimp.AddMaskType.WHITE)
    layer.add_mask(mask)
    hiding = numpy.linspace(0, 1, 96 * 80, dtype="<f4").reshape(96, 80).T.copy()
    mask.get_buffer().set(whole(mask), "Y float", hiding.tobytes())
    layer.set_edit_mask(False)
    feathered(image)
    hiding, before = floats(mask, "Y float"), state(image)
    for task in (IMG2IMG, INPAINT):
        made = {}
        for applied in (False, True):
            layer.set_apply_mask(applied)
            new = call_ok(task, image, [layer]).layer
            x, y = new.get_offsets()[1] - 6, new.get_offsets()[2] + 4
            made[applied] = floats(new.get_mask(), "Y float")
            image.remove_layer(new)
        there = hiding[y:y + made[True].shape[0], x:x + made[True].shape[1]]
        check(abs(made[True] - made[False] * there).max() <= 0.51 / 255, f"{task}: what the mask hides is hidden")
        check(made[False].max() == 1 and made[True].max() < 1, f"{task}: a mask that is not applied hides nothing")
    check(state(image) == before, "source and mask are as before")


def test_what_is_selected_stays_so():
    """The user may be painting there; the layer that is worked on is another one."""
    image, layer = photo()
    feathered(image)
    others = [layer.copy(), layer.copy()]
    for other in others:
        image.insert_layer(other, None, 0)
    channel = Gimp.Channel.new(image, "channel", 96, 80, 50, Gegl.Color.new("red"))
    image.insert_channel(channel, None, 0)
    ids = lambda items: sorted(item.get_id() for item in items)
    for task in (GENERATE, IMG2IMG, INPAINT):
        image.set_selected_layers(others)
        call_ok(task, image, [layer])
        check(ids(image.get_selected_layers()) == ids(others), f"{task}: the layers")
        image.set_selected_channels([channel])
        call_ok(task, image, [layer])
        check(ids(image.get_selected_channels()) == [channel.get_id()], f"{task}: the channel")
        check(not image.get_selected_layers(), f"{task}: no layer")


def test_inpaint_learns_first():
    image, layer = photo()
    feathered(image)
    before = state(image)
    plain, learnt, again = (call_ok(INPAINT, image, [layer], learn=n).layer for n in (0, 3, 3))
    check(raw(plain) != raw(learnt), "what was learnt changes the fill")
    check(raw(learnt) == raw(again), "the same steps make the same bytes")
    check(settings(learnt)["learn"] == 3 and settings(plain)["learn"] == 0, "the steps are recorded")
    for new in (plain, learnt, again):
        image.remove_layer(new)
    check(state(image) == before, "nothing else has changed")


def test_replace_keeps_every_byte_outside():
    image, layer = photo()
    feathered(image)
    old, selection = floats(layer), selection_over(image, layer)
    answer = call_ok(INPAINT, image, [layer], output="replace")
    check(answer.layer.get_id() == layer.get_id() and len(image.get_layers()) == 1, "the layer itself")
    new = floats(layer)
    check((new[selection == 0] == old[selection == 0]).all(), "nothing outside the selection changed")
    check((new[selection > 0.5] != old[selection > 0.5]).any(), "something inside did")
    check((selection_over(image, layer) == selection).all(), "the selection is kept")


def test_replace_is_the_new_layer_merged():
    image, layer = photo()
    feathered(image)
    old = floats(layer).copy()
    new = call_ok(INPAINT, image, [layer]).layer
    x, y = new.get_offsets()[1:]
    alpha = numpy.zeros(old.shape[:2], "f4")
    made = old.copy()
    part = slice(y, y + new.get_height()), slice(x, x + new.get_width())
    alpha[part] = floats(new.get_mask(), "Y float")[..., 0]
    made[part] = floats(new)
    call_ok(INPAINT, image, [layer], output="replace")
    wanted = old + alpha[..., None] * (made - old)
    check(abs(floats(layer) - wanted).max() <= 1.6 / 255, "both outputs show the same picture")


def test_layer_with_an_offset():
    image, layer = photo()
    image.resize(140, 130, 31, 27)
    check(layer.get_offsets()[1:] == (31, 27), "the layer is off the origin")
    feathered(image, 40, 40, 36, 30)
    new = call_ok(INPAINT, image, [layer]).layer
    x, y = new.get_offsets()[1:]
    selection = Gimp.Selection.bounds(image)
    check(x <= selection[2] and y <= selection[3], "the result begins left of and above the selection")
    check(x + new.get_width() >= selection[4] and y + new.get_height() >= selection[5], "and covers it")
    check(x >= 31 and y >= 27, "inside its layer")


def test_layer_partly_outside_the_image():
    image, layer = photo()
    layer.set_offsets(-40, -30)
    image.select_rectangle(Gimp.ChannelOps.REPLACE, 0, 0, 30, 30)
    before, selection = raw(layer), selection_over(image, layer)
    check(selection[30:60, 40:70].min() == 1 and selection.sum() == 900, "what is selected of it")
    call_ok(INPAINT, image, [layer], output="replace")
    after = raw(layer)
    changed = numpy.frombuffer(before, "u1") != numpy.frombuffer(after, "u1")
    changed = changed.reshape(80, 96, 3).any(axis=2)
    check(changed.any() and not changed[selection == 0].any(), "only the selected part changes")


def test_layer_in_a_group():
    image, layer = photo()
    group = Gimp.GroupLayer.new(image, "group")
    image.insert_layer(group, None, 0)
    image.reorder_item(layer, group, 0)
    feathered(image)
    new = call_ok(INPAINT, image, [layer]).layer
    check(group.get_children() == [new, layer], "above its source, in the same group")


def test_what_the_layer_carries():
    image, layer = photo()
    new = call_ok(IMG2IMG, image, [layer], strength=0.25, sampler="euler-a", schedule="karras",
                  negative_prompt="spoon").layer
    kept = settings(new)
    for name, value in {"task": "img2img", "seed": 7, "strength": 0.25, "sampler": "euler-a",
                        "schedule": "karras", "steps": 2, "guidance": 1.0, "model": ""}.items():
        check(kept[name] == value, f"{name} is recorded: {kept.get(name)}")
    check(prompts(new) == {"prompt": "coffee", "negative-prompt": "spoon"}, "prompts are recorded")
    file = Gio.File.new_for_path(os.path.join(os.environ["TEST_FOLDER"], "saved.xcf"))
    check(Gimp.file_save(Gimp.RunMode.NONINTERACTIVE, image, file, None), "saved")
    content = open(file.get_path(), "rb").read()
    check(b"pentimento-settings" in content, "the settings go into the file")
    check(b"pentimento-prompts" not in content and b"spoon" not in content, "the prompts do not")
    loaded = Gimp.file_load(Gimp.RunMode.NONINTERACTIVE, file)
    check(settings(loaded.get_layers()[0]) == kept, "and come back")


def test_same_seed_same_bytes():
    results = []
    for _ in range(2):
        image, layer = photo()
        feathered(image)
        results.append([raw(call_ok(task, image, [layer], guidance=3.0).layer) for task in (IMG2IMG, INPAINT)])
    check(results[0] == results[1], "the same seed and settings make the same bytes")


def test_documented():
    for name in (GENERATE, IMG2IMG, INPAINT, OUTPAINT):
        procedure = Gimp.get_pdb().lookup_procedure(name)
        check(procedure.get_blurb() and procedure.get_help() and procedure.get_authors(), name)
        check(procedure.get_menu_paths() == ["<Image>/Filters/Pentimento"], "menu path")
        for spec in procedure.get_arguments()[3:]:
            check(spec.get_blurb() and len(spec.get_blurb()) > 10, f"{name} {spec.get_name()} has words")
    learn = Gimp.get_pdb().lookup_procedure(INPAINT).find_argument("learn").get_blurb()
    for word in "same part", "model", "style", "steps", "prompt", "backgrounds":
        check(word in learn, f"all that what was learnt depends on: {learn}")
