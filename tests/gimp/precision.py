"""Every precision, RGB, grey and indexed, with and without alpha: outside the selection not one bit
changes, inside the picture is the same one but for what rounding of selection and pixels does to the
denoiser (a wrong tone curve would be tens of 1/255 off)."""
import numpy

from harness import *

PRECISIONS = [getattr(Gimp.Precision, depth + "_" + curve)
              for depth in ("U8", "U16", "U32", "HALF", "FLOAT", "DOUBLE")
              for curve in ("LINEAR", "NON_LINEAR", "PERCEPTUAL")]
reference = {}


def pixels(layer, data):
    return numpy.frombuffer(data, "u1").reshape(layer.get_height(), layer.get_width(), -1)


def put(layer, x, y, values):
    """Writes [height, width, 4] values into a layer, as R'G'B'A."""
    rectangle = Gegl.Rectangle.new(x, y, values.shape[1], values.shape[0])
    layer.get_buffer().set(rectangle, "R'G'B'A float", values.astype("<f4").tobytes())


BROKEN = numpy.tile([[numpy.nan, 0.5, 0.5, 1.0], [0.5, numpy.inf, 0.5, 1.0], [0.5, 0.5, -numpy.inf, 1.0]], (4, 1, 1))


def hard_bytes(layer):
    """Gives a float or half layer values beyond 0..1, as HDR pictures have them, where nothing is selected, and
    there and in the middle of the selection and on its soft edge such as are no numbers."""
    put(layer, 0, 0, numpy.linspace(-0.75, 7.5, 12 * 12 * 4).reshape(12, 12, 4))
    for x, y in (0, 14), (40, 36), (24, 36):
        put(layer, x, y, BROKEN)


def check_replace(precision, base, alpha, accuracy):
    image, layer = photo(precision=precision, base=base, alpha=alpha)
    if precision in PRECISIONS[9:]:
        hard_bytes(layer)
    feathered(image)
    before, selection, old_selection = raw(layer), selection_over(image, layer), raw(image.get_selection())
    call_ok(INPAINT, image, [layer], output="replace")
    old, new = pixels(layer, before), pixels(layer, raw(layer))
    what = f"{precision.value_nick if precision else 'u8'} {base or 'rgb'} alpha {alpha}"
    check((old[selection == 0] == new[selection == 0]).all(), f"{what}: bytes outside changed")
    check((old[selection > 0.5] != new[selection > 0.5]).any(), f"{what}: nothing inside changed")
    check(raw(image.get_selection()) == old_selection, f"{what}: the selection changed")
    made = floats(layer)
    check(numpy.isfinite(made[selection > 0]).all(), f"{what}: broken pixels are left inside")
    key = base or "rgb"
    full = selection >= 0.5
    if key in reference and accuracy is not None:
        difference = abs(made[full] - reference[key][full]).mean()
        check(difference <= accuracy, f"{what}: {difference * 255:.2f}/255 from the 8-bit result on average")
    reference.setdefault(key, made)
    image.delete()


def check_new_layer(precision, base, alpha):
    image, layer = photo(precision=precision, base=base, alpha=alpha)
    feathered(image)
    before = state(image)
    new = call_ok(INPAINT, image, [layer]).layer
    check(new.has_alpha() and new.get_mask() is not None, "the new layer has alpha and a mask")
    check(new.is_indexed() == layer.is_indexed() and new.is_gray() == layer.is_gray(), "image type")
    image.remove_layer(new)
    check(state(image) == before, "the source is as it was")
    image.delete()


def test_rgb():
    check_replace(None, None, False, None)
    for precision in PRECISIONS:
        check_replace(precision, None, False, 8 / 255)


def test_rgb_alpha():
    for precision in PRECISIONS:
        check_replace(precision, None, True, 8 / 255)


def test_grey():
    check_replace(None, "gray", False, None)
    for precision in PRECISIONS:
        check_replace(precision, "gray", precision in PRECISIONS[::2], 8 / 255)


def test_indexed():
    for alpha in (False, True):
        check_replace(None, "indexed", alpha, None)


def test_new_layers():
    for precision in PRECISIONS:
        check_new_layer(precision, None, False)
    for alpha in (False, True):
        check_new_layer(None, "gray", alpha)
        check_new_layer(None, "indexed", alpha)


def test_whole_layer():
    """No selection: the whole layer, by the same way in."""
    for precision in (Gimp.Precision.U8_NON_LINEAR, Gimp.Precision.HALF_LINEAR):
        image, layer = photo(precision=precision)
        before = raw(layer)
        call_ok(IMG2IMG, image, [layer], output="replace")
        check(raw(layer) != before, "the picture differs")


def test_colour_profile():
    """A wide-gamut profile: the same bytes outside, and a result near the sRGB one inside."""
    results = []
    for profile in (None, Gimp.ColorProfile.new_d65_gray_srgb_trc(), Gimp.ColorProfile.new_rgb_adobe()):
        image, layer = photo(precision=Gimp.Precision.U16_NON_LINEAR)
        if profile is not None and profile.is_rgb():
            check(image.convert_color_profile(profile, Gimp.ColorRenderingIntent.RELATIVE_COLORIMETRIC, True),
                  "profile converted")
        feathered(image)
        before, selection = pixels(layer, raw(layer)), selection_over(image, layer)
        call_ok(INPAINT, image, [layer], output="replace")
        after = pixels(layer, raw(layer))
        check((before[selection == 0] == after[selection == 0]).all(), "bytes outside changed")
        results.append(floats(layer)[selection >= 0.5])
    check(abs(results[0] - results[2]).max() < 12 / 255, "the profile is part of the conversion")


def test_transparent_pixels():
    """Lock alpha, a group's too, keeps every pixel's opacity; what is hidden under full transparency stays outside."""
    for lock in (None, "layer", "group"):
        image, layer = photo(precision=Gimp.Precision.U16_NON_LINEAR, alpha=True)
        image.select_rectangle(Gimp.ChannelOps.REPLACE, 30, 30, 20, 20)
        layer.edit_clear()
        feathered(image, 10, 10, 60, 60, 6.0)
        group = Gimp.GroupLayer.new(image, "group")
        image.insert_layer(group, None, 0)
        image.reorder_item(layer, group, 0)
        layer.set_lock_alpha(lock == "layer")
        group.set_lock_alpha(lock == "group")
        old, selection, before = floats(layer), selection_over(image, layer), pixels(layer, raw(layer))
        call_ok(INPAINT, image, [layer], output="replace")
        new = floats(layer)
        check((pixels(layer, raw(layer))[selection == 0] == before[selection == 0]).all(), "outside")
        check((old[30:50, 30:50, 3] == 0).all(), "there is a hole to begin with")
        if lock:
            check((new[..., 3] == old[..., 3]).all(), "lock alpha keeps the opacity")
        check(layer.get_lock_alpha() == (lock == "layer"), "the lock is kept")


def test_components_that_are_off():
    """As GIMP's own filters do, Replace leaves them byte for byte as they are."""
    channel = Gimp.ChannelType
    for precision in Gimp.Precision.U8_NON_LINEAR, Gimp.Precision.HALF_LINEAR:
        for base, off, names in ((None, [0], [channel.RED]), (None, [1, 3], [channel.GREEN, channel.ALPHA]),
                                 ("gray", [1], [channel.ALPHA])):
            image, layer = photo(precision=precision, base=base, alpha=True)
            image.select_rectangle(Gimp.ChannelOps.REPLACE, 30, 30, 20, 20)
            layer.edit_clear()  # so that opacity, too, would change
            feathered(image)
            for name in names:
                image.set_component_active(name, False)
            before = pixels(layer, raw(layer)).copy()
            call_ok(INPAINT, image, [layer], output="replace")
            after = pixels(layer, raw(layer))
            each = before.shape[-1] // (2 if base else 4)
            for c in range(before.shape[-1] // each):
                part = slice(c * each, (c + 1) * each)
                same = (before[..., part] == after[..., part]).all()
                check(same == (c in off), f"{base} {names} {c}: {same}")
