"""Pixels: an object cut out, laid on a ground; its main colour. Pictures are Pillow's, RGBA with straight alpha."""
import colorsys

import numpy
from PIL import Image

from captions import COLOURS
from recipe import RECIPE

LANCZOS = Image.Resampling.LANCZOS
HUES = [(14, "red"), (42, "orange"), (68, "yellow"), (170, "green"), (255, "blue"), (292, "purple"), (335, "pink"), (361, "red")]


def resized(picture, width, height):
    """Resamples with premultiplied alpha, so that what is hidden does not colour the edges."""
    return picture.convert("RGBa").resize((max(1, width), max(1, height)), LANCZOS).convert("RGBA")


def cut_out(picture, side):
    """The visible part in the middle of a transparent square; None where there is next to nothing to see."""
    picture = picture.convert("RGBA")
    box = picture.getchannel("A").point(lambda a: 255 if a > 12 else 0).getbbox()
    if box is None:
        return None
    picture = picture.crop(box)
    room = side * (1 - 2 * RECIPE["margin"])
    scale = room / max(picture.size)
    picture = resized(picture, round(picture.width * scale), round(picture.height * scale))
    square = Image.new("RGBA", (side, side))
    square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    return square if coverage(square) >= RECIPE["least_coverage"] else None


def coverage(picture):
    return float(numpy.asarray(picture.getchannel("A")).mean()) / 255


def fingerprint(picture):
    """The same for pictures that look alike: 12 x 12 pixels on white, 3 bits a channel."""
    flat = laid_on(picture, Image.new("RGB", picture.size, "white"))
    small = numpy.asarray(flat.resize((12, 12), Image.Resampling.BOX))
    return (small >> 5).tobytes()


def laid_on(picture, ground, at=(0, 0)):
    ground = ground.copy()
    ground.paste(picture, at, picture.getchannel("A"))
    return ground


def main_colour(picture):
    """The entry of COLOURS that most of a one-coloured object has, else None: 60 % of what is seen and not nearly grey
    must lie within 25 degrees of its hue, and little of the object may be grey."""
    hsv = numpy.asarray(picture.convert("RGB").convert("HSV"), dtype=float)
    seen = numpy.asarray(picture.getchannel("A")) > 128
    hue, strength = hsv[..., 0][seen] * 360 / 255, hsv[..., 1][seen] * hsv[..., 2][seen] / 255**2
    vivid = strength > 0.25
    if vivid.sum() < 0.6 * seen.sum():
        return None
    angle = numpy.deg2rad(hue[vivid])
    mean = numpy.rad2deg(numpy.arctan2(numpy.sin(angle).mean(), numpy.cos(angle).mean())) % 360
    near = numpy.abs((hue[vivid] - mean + 180) % 360 - 180) < 25
    if near.mean() < 0.8:
        return None
    rgb = numpy.asarray(picture.convert("RGB"), dtype=float)[seen][vivid].mean(axis=0)
    return colour_of(rgb)


def colour_of(rgb):
    """What one calls a colour, as an entry of COLOURS; None between the names, as for cream and beige."""
    hue, saturation, value = colorsys.rgb_to_hsv(*(float(c) / 255 for c in rgb))
    hue *= 360
    if value < 0.2:
        name = "black"
    elif saturation < 0.12:
        name = "white" if value > 0.85 else "grey"
    elif 12 <= hue < 45 and value < 0.72 and saturation > 0.25:
        name = "brown"
    elif saturation < 0.35:
        name = "pink" if value > 0.8 and (hue >= 310 or hue < 12) else None
    else:
        name = next(name for limit, name in HUES if hue < limit)
        name = "pink" if name == "red" and saturation < 0.6 and value > 0.8 else name
    return next((c for c in COLOURS if c["en"] == name), None)


def recoloured(picture, colour):
    """A one-coloured object in another colour: its lightness stays, up to the colour's own level."""
    rgb = numpy.asarray(picture.convert("RGB"), dtype=float) / 255
    alpha = picture.getchannel("A")
    seen = numpy.asarray(alpha) > 128
    light = rgb @ numpy.array([0.299, 0.587, 0.114])
    target = numpy.array(colour["rgb"]) / 255
    level = float(target @ numpy.array([0.299, 0.587, 0.114]))
    middle = float(numpy.median(light[seen]))
    value = numpy.clip(light / max(middle, 0.05), 0, None)[..., None]  # 1 where it is of middle lightness
    dark = target * numpy.minimum(value, 1)
    bright = 1 - (1 - target) * numpy.clip((1 - light[..., None]) / max(1 - middle, 0.05), 0, 1)
    out = numpy.where(value <= 1, dark, bright if level < 0.95 else numpy.minimum(target * value, 1))
    out = Image.fromarray((numpy.clip(out, 0, 1) * 255).round().astype("uint8"), "RGB")
    out.putalpha(alpha)
    return out
