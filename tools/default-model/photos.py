"""Photographs and textures: whole pictures in, square crops out.

Same dicts as in sources.py, with loads of ("photo", path), ("edj", path) or ("texture", path, member)."""
import hashlib
import io
import re
import zipfile
from functools import lru_cache

import numpy
from PIL import Image

from captions import LANGUAGES
from picture import LANCZOS, colour_of
from recipe import FOLDER, RECIPE, is_allowed, read_table


def photographs(places):
    for row in read_table(FOLDER / "photos.tsv"):
        path = places[row["package"]] / row["file"]
        yield {"id": f"{row['package']}/{path.name}", "package": row["package"], "style": row["kind"],
               "names": {language: [row[language]] for language in LANGUAGES}, "concept": path.name,
               "licence": row["licence"], "author": "", "everywhere": row["everywhere"] == "yes",
               "load": ("edj" if path.suffix == ".edj" else "photo", str(path))}


def textures(places):
    """Of the rendered things' textures those whose file says what they show; each once."""
    kinds = [(re.compile(pattern, re.I), names) for pattern, *names in RECIPE["textures"]]
    seen = set()
    for path in sorted((places["sweethome3d-furniture"] / "usr/share/sweethome3d/furniture").glob("*.sh3f")):
        archive = zipfile.ZipFile(path)
        for member in sorted(archive.namelist()):
            names = next((names for pattern, names in kinds if pattern.search(member.split("/")[-1])), None)
            if member.count("/") < 2 or not re.search(r"\.(jpe?g|png)$", member, re.I) or not names or not is_allowed(member):
                continue
            data = archive.read(member)
            key = hashlib.sha256(data).digest()
            try:
                picture = Image.open(io.BytesIO(data))
            except OSError:
                continue
            if min(picture.size) < RECIPE["side"] or key in seen or "A" in picture.getbands() or "transparency" in picture.info:
                continue
            seen.add(key)
            yield {"id": f"sweethome3d-furniture/{path.stem}/{member}", "package": "sweethome3d-furniture", "style": "texture",
                   "names": dict(zip(LANGUAGES, ([name] for name in names))), "concept": member,
                   "licence": "CC0-1.0" if path.stem == "BlendSwap-CC-0" else "CC-BY-3.0", "author": "", "everywhere": True,
                   "load": ("texture", str(path), member)}


def largest_jpeg(data):
    """An .edj file is an archive with plain JPEG files inside."""
    best, at = None, -1
    while (at := data.find(b"\xff\xd8\xff", at + 1)) >= 0:
        try:
            picture = Image.open(io.BytesIO(data[at:]))
        except OSError:
            continue
        if best is None or picture.width * picture.height > best.width * best.height:
            best = picture
    return best


@lru_cache(maxsize=1)
def load(how):
    """RGB, at half size if large: wallpapers at 4K are soft."""
    kind, path, *rest = how
    if kind == "edj":
        picture = largest_jpeg(open(path, "rb").read())
    elif kind == "texture":
        picture = Image.open(io.BytesIO(zipfile.ZipFile(path).read(rest[0])))
    else:
        picture = Image.open(path)
    picture = picture.convert("RGB")
    half = 2 if min(picture.size) >= 2000 else 1
    return picture.resize((picture.width // half, picture.height // half), Image.Resampling.BOX) if half > 1 else picture


def crop(random, picture, side, large):
    """A random square of the picture at a random scale, mirrored or not, and the share of the picture's shorter side that it
    shows. large: a third of the crops show much of the picture. Flat crops (a clear sky) are drawn again nine times out of ten."""
    shortest = min(picture.size)
    for _ in range(8):
        if large and random.random() < 0.35:
            size = random.uniform(0.6, 1.0) * shortest
        else:
            size = min(shortest, side * random.choice([1, 1, 1.5, 2, 3]))
        size = max(side, int(size)) if shortest >= side else shortest
        x, y = random.randrange(picture.width - size + 1), random.randrange(picture.height - size + 1)
        part = picture.crop((x, y, x + size, y + size)).resize((side, side), LANCZOS)
        if numpy.asarray(part.convert("L"), dtype=float).std() > 6 or random.random() < 0.1:
            break
    return part.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if random.random() < 0.5 else part, size / shortest


def mean_colour(picture):
    return colour_of(numpy.asarray(picture, dtype=float).reshape(-1, 3).mean(axis=0))
