"""One picture with its caption from one job of the plan. Everything random follows from the job's own name."""
import re

from PIL import Image

import captions
import photos
import picture
from captions import COLOURS
from recipe import RECIPE, generator

SIDE = RECIPE["side"]
# what has a left and a right, or signs on it, is not mirrored
ONE_WAY = re.compile(r"\b(left|right|clock|o’clock|text|letter|flag|calendar|book|newspaper|music|note|sign|mark|button|arrow|number|abc|"
                     r"english|map|globe|keyboard|hand|eleven|twelve|[a-z]+-thirty)\b", re.I)
COLOUR_WORDS = re.compile(
    r"\b((" + "|".join(c["en"] for c in COLOURS) + r"|gray|golden|gold|silver|dark|light)\b"
    r"|rot|gelb|grün|blau|schwarz|weiß|braun|grau|rosa|violett|lila|dunkel|hell|rouge|jaune|vert|bleu|noir|blanc|marron|gris|rose"
    r"|violet|roj[oa]|amarill|azul|negr|marrón|morad|naranj)|[赤青黄緑白黒茶紫灰]", re.I)


def can_be_recoloured(thing):
    """One colour, and a name that does not tell which."""
    return (thing["colour"] is not None and "variants" not in thing
            and not any(COLOUR_WORDS.search(texts[0]) for texts in thing["names"].values()))


def ground(random, avoid, crops):
    """A ground and, where it is one colour that a caption may name, that colour."""
    share = RECIPE["grounds"]
    x = random.random() * (1 - share["white"]) + share["white"] if avoid == "white" else random.random()
    if x < share["white"]:
        return Image.new("RGB", (SIDE, SIDE), "white"), None
    if x < share["white"] + share["colour"] or not crops:
        colour = random.choice([c for c in COLOURS if c["en"] not in ("white", avoid)])
        shade = tuple(min(255, max(0, c + random.randint(-12, 12))) for c in colour["rgb"])
        return Image.new("RGB", (SIDE, SIDE), shade), colour
    return Image.open(random.choice(crops)).convert("RGB"), None


def put(random, canvas, cut, box, mirror):
    """An object into a square (x, y, side) of the canvas."""
    x, y, side = box
    if mirror and random.random() < 0.5:
        cut = cut.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return picture.laid_on(picture.resized(cut, side, side) if side != cut.width else cut, canvas, (x, y))


def place(random, thing):
    """Mostly the whole picture, else smaller and anywhere."""
    side = SIDE if random.random() < 0.5 else random.randint(SIDE * 55 // 100, SIDE)
    return random.randint(0, SIDE - side), random.randint(0, SIDE - side), side


def mirrors(thing):
    return not ONE_WAY.search(" ".join(thing["names"]["en"]))


def compose_object(random, job, cut_of, crops):
    """The first variant is the object on white, by its English name."""
    thing = job["thing"]
    if job["variant"] == 0:
        return picture.laid_on(cut_of(random, thing), Image.new("RGB", (SIDE, SIDE), "white")), thing["names"]["en"][0], "en"
    language = random.choice(captions.languages(thing["names"]))
    canvas, colour = ground(random, thing["colour"], crops)
    canvas = put(random, canvas, cut_of(random, thing), place(random, thing), mirrors(thing))
    if can_be_recoloured(thing) and random.random() < 0.3:
        own = next(c for c in COLOURS if c["en"] == thing["colour"])
        text = captions.coloured(thing["names"][language][0], own, language)
    else:
        text = captions.describe(random, thing, language)
    if colour and random.random() < 0.7:
        text = captions.on_ground(text, colour, language)
    return canvas, text, language


def compose_coloured(random, job, cut_of, crops):
    thing, colour = job["thing"], COLOURS[job["colour"]]
    language = random.choice(captions.languages(thing["names"]))
    canvas, back = ground(random, colour["en"], crops)
    cut = picture.recoloured(cut_of(random, thing), colour)
    canvas = put(random, canvas, cut, place(random, thing), mirrors(thing))
    text = captions.coloured(thing["names"][language][0], colour, language)
    return canvas, captions.on_ground(text, back, language) if back and random.random() < 0.5 else text, language


def scene_object(random, thing, language, cut_of):
    """An object of a scene and what it is called: sometimes in a colour of the scene's own."""
    cut, name = cut_of(random, thing), thing["names"][language][0]
    if can_be_recoloured(thing) and random.random() < 0.5:
        colour = COLOURS[random.choice(thing["seen colours"])]
        return picture.recoloured(cut, colour), captions.coloured(name, colour, language)
    return cut, name


def jittered(random, x, y, side):
    step = SIDE // 32
    return x + random.randint(-step, step), y + random.randint(-step, step), side


def compose_count(random, job, cut_of, crops):
    thing, n = job["thing"], random.choice([2, 2, 3, 3, 4])
    language = random.choice(captions.languages(thing["names"]))
    canvas, _ = ground(random, thing["colour"], crops)
    half = SIDE // 2
    corners = {2: [(2, half // 2), (half, half // 2)], 3: [(half // 2, 2), (2, half), (half, half)],
               4: [(2, 2), (half, 2), (2, half), (half, half)]}[n]
    for x, y in corners:
        canvas = put(random, canvas, cut_of(random, thing), jittered(random, x, y, half - 4), mirrors(thing))
    return canvas, captions.counted(thing["names"][language][0], n, language), language


def compose_pair(random, job, cut_of, crops):
    """Two objects: beside (a left of b) or above."""
    a, b = job["thing"], job["other"]
    language = random.choice(captions.languages(a["names"], b["names"]))
    canvas, _ = ground(random, None, crops)
    half, quarter = SIDE // 2, SIDE // 4
    corners = [(2, quarter), (half, quarter)] if job["kind"] == "beside" else [(quarter, 2), (quarter, half)]
    names = []
    for thing, (x, y) in zip((a, b), corners):
        cut, name = scene_object(random, thing, language, cut_of)
        canvas = put(random, canvas, cut, jittered(random, x, y, half - 4), mirrors(thing))
        names.append(name)
    return canvas, captions.placed(random, job["kind"], *names, language), language


def compose_crop(random, job, cut_of, crops):
    thing = job["thing"]
    part, share = photos.crop(random, photos.load(tuple(thing["load"])), SIDE, thing["style"] != "texture")
    language = random.choice(captions.languages(thing["names"]))
    if share < 0.5 and not thing["everywhere"]:  # what the picture shows may be elsewhere in it
        return part, captions.TABLE["styles"][thing["style"]][language], language
    colour = photos.mean_colour(part)
    if thing["load"][0] == "texture" and colour and random.random() < 0.6:  # the others' names tell their colour
        thing = {**thing, "names": {language: [captions.coloured(thing["names"][language][0], colour, language)]}}
    return part, captions.describe(random, thing, language, "photo"), language


COMPOSERS = {"object": compose_object, "coloured": compose_coloured, "count": compose_count, "beside": compose_pair,
             "above": compose_pair, "crop": compose_crop}


def compose(job, cut_of, crops):
    """(picture, caption, language)"""
    return COMPOSERS[job["kind"]](generator(job["name"]), job, cut_of, crops)
