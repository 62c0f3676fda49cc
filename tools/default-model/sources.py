"""The captioned objects: emoji, icons, furniture and other rendered things, clip art.

A thing is a dict: id, package, style, names and tags by language, concept (what is held out together), licence, author, and
how to load its picture: ("font", glyph), ("file", path), ("svg", path) or ("zip", path, member). Rendered things have a model, too:
(archive, member, matrix)."""
import io
import re
import subprocess
import xml.etree.ElementTree as xml
import zipfile
from functools import cache

import numpy
from fontTools.ttLib import TTFont
from PIL import Image

from meshes import read_model
from names import clean_name, english_of, name_of_file
from picture import resized
from recipe import FOLDER, LANGUAGES, RECIPE, generator, is_allowed, read_table
from views import render

Image.MAX_IMAGE_PIXELS = None  # the packages' digests are known, and of large drawings only the size is read

CLDR = "usr/share/unicode/cldr/common"
NOTO = "usr/share/fonts/truetype/noto/NotoColorEmoji.ttf"
VIEWS = RECIPE["views"]
SKIN_TONES = {chr(c) for c in range(0x1F3FB, 0x1F400)}


def thing(package, style, key, names, tags, licence, author, load):
    names = {language: list(texts) for language, texts in names.items() if texts}
    return {"id": f"{package}/{key}", "package": package, "style": style, "names": names, "tags": tags,
            "concept": names["en"][0].lower(), "licence": licence, "author": author, "load": load}


# ---- emoji -------------------------------------------------------------------------------------------------------------

@cache
def cldr(place, language):
    """{character: (name, [key words])} of a language."""
    names, words = {}, {}
    for folder in ("annotations", "annotationsDerived"):
        for node in xml.parse(place / CLDR / folder / f"{language}.xml").iter("annotation"):
            text = re.sub(r"\s+", " ", re.sub("[„“”«»「」]", "", node.text or "") if language != "en" else node.text or "")
            if node.get("type") == "tts":
                names[node.get("cp")] = text.strip()
            else:
                words[node.get("cp")] = [word.strip() for word in text.split("|")]
    return {cp: (name, words.get(cp, [])) for cp, name in names.items() if "↑" not in name}


def ligatures(font):
    """{(glyph, glyph, …): glyph} of all sequences."""
    table = {}
    for lookup in font["GSUB"].table.LookupList.Lookup:
        for sub in lookup.SubTable if lookup.LookupType == 4 else []:
            for first, sequences in sub.ligatures.items():
                for sequence in sequences:
                    table[first, *sequence.Component] = sequence.LigGlyph
    return table


def is_picture(character, name):
    """A picture of something: no flags, keycaps, signs of writing, letters in boxes."""
    codes = [ord(c) for c in character]
    return (codes[0] >= 0x2190 and 0x20E3 not in codes and not any(0x1F1E6 <= c <= 0x1F1FF or c >= 0xE0000 for c in codes)
            and not 0x1F100 <= codes[0] <= 0x1F2FF and not re.search("[“”]", name))


def emoji(places):
    path = places["fonts-noto-color-emoji"] / NOTO
    font = TTFont(path)
    cmap, sequences, glyphs = font.getBestCmap(), ligatures(font), font["CBDT"].strikeData[0]
    tables = {language: cldr(places["unicode-cldr-core"], language) for language in LANGUAGES}
    for character in sorted(tables["en"]):
        name = tables["en"][character][0]
        key = tuple(cmap.get(ord(c)) for c in character if c != "\ufe0f")
        glyph = key[0] if len(key) == 1 else sequences.get(key)
        if glyph not in glyphs or not is_picture(character, name) or not is_allowed(name):
            continue
        names = {l: [t[character][0]] for l, t in tables.items() if character in t}
        tags = {l: [w for w in t[character][1] if w != t[character][0]] for l, t in tables.items() if character in t}
        result = thing("fonts-noto-color-emoji", "emoji", "-".join(f"{ord(c):x}" for c in character), names, tags,
                       "Apache-2.0", "Google Inc.", ("font", str(path), glyph))
        if SKIN_TONES & set(character):
            result["concept"] = name.split(":")[0].lower()
            result["variants"] = 1
        yield result


def icons(places):
    """Icons have the names of the emoji that show the same."""
    tables = {language: cldr(places["unicode-cldr-core"], language) for language in LANGUAGES}
    folder = places["tango-icon-theme"] / "usr/share/icons/Tango/scalable"
    for row in read_table(FOLDER / "icons.tsv"):
        names = {l: [t[row["emoji"]][0]] for l, t in tables.items() if row["emoji"] in t}
        tags = {l: t[row["emoji"]][1] for l, t in tables.items() if row["emoji"] in t}
        yield thing("tango-icon-theme", "icon", row["file"], names, tags, "public domain", "Tango Desktop Project",
                    ("svg", str(folder / row["file"])))


# ---- rendered things ---------------------------------------------------------------------------------------------------

def properties(archive, language):
    """A Java properties file: {"name#1": value}."""
    member = "PluginFurnitureCatalog" + ("" if language == "en" else f"_{language}") + ".properties"
    if member not in archive.namelist():
        return {}
    text = re.sub(r"\\\r?\n[ \t]*", "", archive.read(member).decode("latin-1"))
    text = re.sub(r"\\u([0-9a-fA-F]{4})", lambda m: chr(int(m[1], 16)), text)
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))


def furniture(places):
    vendors = re.compile(r"blend ?swap|scopia|kator|legaz|reallusion|etek", re.I)
    for path in sorted((places["sweethome3d-furniture"] / "usr/share/sweethome3d/furniture").glob("*.sh3f")):
        archive = zipfile.ZipFile(path)
        tables = {language: properties(archive, language) for language in LANGUAGES}
        english = tables["en"]
        for number in sorted((k.split("#")[1] for k in english if k.startswith("name#")), key=int):
            names = {l: [clean_name(t[f"name#{number}"], l)] for l, t in tables.items() if t.get(f"name#{number}")}
            tags = {l: [w for w in map(str.strip, t.get(f"tags#{number}", "").split(",")) if w and not vendors.search(w)]
                    for l, t in tables.items()}
            tags = {l: [clean_name(w, l) for w in words if is_allowed(w)] for l, words in tags.items()}
            member = english[f"icon#{number}"].lstrip("/")
            if not names.get("en", [""])[0] or not is_allowed(names["en"][0], member):
                continue
            rotation = [float(x) for x in english.get(f"modelRotation#{number}", "1 0 0 0 1 0 0 0 1").split()]
            yield {**thing("sweethome3d-furniture", "3d", f"{path.stem}/{member}", names, tags,
                           "CC0-1.0" if path.stem == "BlendSwap-CC-0" else "CC-BY-3.0", english.get(f"creator#{number}", ""),
                           ("zip", str(path), member)),
                   "model": (str(path), english[f"model#{number}"].lstrip("/"), rotation)}


# ---- clip art ----------------------------------------------------------------------------------------------------------

def metadata(text):
    """Title, key words, author and whether the drawing says that it is in the public domain."""
    def between(tag, within=text):
        found = re.search(rf"<dc:{tag}\b[^>]*>(.*?)</dc:{tag}>", within, re.S)
        return found[1] if found else ""

    def plain(xml_text):
        return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", xml_text)).strip()

    block = re.search(r"<metadata.*?</metadata>", text, re.S)
    block = block[0] if block else ""
    words = [plain(w) for w in re.findall(r"<rdf:li>(.*?)</rdf:li>", between("subject", block), re.S)]
    free = re.search(r"<cc:license[^>]*publicdomain", block, re.I) is not None
    return plain(between("title", block)), [w.lower() for w in words if w], plain(between("creator", block)), free


def clip_art(places, lexicon):
    """lexicon: of names.Lexicon; gives names in other languages, and English for titles in other languages."""
    rules = RECIPE["clip_art"]
    vectors = places["openclipart-svg"] / "usr/share/openclipart/svg"
    rendered = places["openclipart-png"] / "usr/share/openclipart/png"
    for path in sorted(vectors.rglob("*.svg")):
        key = path.relative_to(vectors).as_posix()
        within = [any(f"{key}/".startswith(folder + "/") for folder in rules[rule]) for rule in ("without", "but")]
        if path.is_symlink() or within == [True, False]:
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        title, words, author, free = metadata(text)
        if not free or "<image" in text or not is_allowed(key, title, *words):
            continue
        folders = set(key.split("/")[:-1])
        name = english_of(title, name_of_file(path.stem, author), [w for w in words if w not in folders], lexicon)
        if name is None or not is_allowed(name):
            continue
        names = {"en": [name], **lexicon.translations(name)}
        tags = {"en": [w for w in words if lexicon.is_english(w)][:6]}
        yield thing("openclipart-svg", "clip art", key, names, tags, "public domain", author,
                    clip_art_picture(path, rendered / (key[:-4] + ".png"), rules["largest_png"]))


def clip_art_picture(vector, picture, largest):
    """The package's own rendering if it has one of a useful size; drawing takes a second, reading does not."""
    try:
        with Image.open(picture) as image:
            if RECIPE["side"] <= max(image.size) <= largest:
                return "file", str(picture)
    except (OSError, ValueError):
        pass
    return "svg", str(vector)


# ---- loading -----------------------------------------------------------------------------------------------------------

@cache
def font_pictures(path):
    return TTFont(path)["CBDT"].strikeData[0]


@cache
def archive_of(path):
    return zipfile.ZipFile(path)


def load(how):
    """The picture in RGBA, or None where it cannot be read."""
    kind, path, *rest = how
    try:
        if kind == "font":
            data = font_pictures(path)[rest[0]].imageData
        elif kind == "zip":
            data = archive_of(path).read(rest[0])
        elif kind == "svg":
            side = str(2 * RECIPE["side"])
            data = subprocess.run(["rsvg-convert", "-w", side, "-h", side, "--keep-aspect-ratio", path], timeout=60,
                                  capture_output=True, check=True).stdout
        else:
            data = open(path, "rb").read()
        return Image.open(io.BytesIO(data)).convert("RGBA")
    except (OSError, KeyError, ValueError, subprocess.SubprocessError):
        return None


def load_views(thing):
    """The thing's 3D model from many sides, in RGBA; nothing where there is none or it cannot be read."""
    if "model" not in thing:
        return
    path, member, rotation = thing["model"]
    try:
        parts = read_model(archive_of(path), member, numpy.array(rotation).reshape(3, 3))
    except (OSError, KeyError, ValueError, IndexError, zipfile.BadZipFile):
        return
    random, side = generator("views", thing["id"]), 2 * RECIPE["side"]
    for _ in range(VIEWS["count"]):
        pixels = render(parts, random.uniform(*VIEWS["azimuth"]), random.uniform(*VIEWS["elevation"]), 2 * side)
        yield resized(Image.fromarray((pixels * 255).round().astype("uint8"), "RGBA"), side, side)
