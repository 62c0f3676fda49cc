"""make-set.py FOLDER [--processes N]: the default model's pictures and captions, from Debian packages alone.

Downloads and unpacks below FOLDER, writes FOLDER/set: train.tsv, held-out.tsv (columns file, caption, …), pictures/,
captions.txt, ATTRIBUTION.txt, and at last digest, which tells the recipe and the content apart from any other."""
import argparse
import hashlib
import re
import shutil
import sys
from collections import defaultdict
from functools import lru_cache
from multiprocessing import Pool
from pathlib import Path

from PIL import Image

import captions
import names
import photos
import picture
import sources
from compose import can_be_recoloured, compose
from fetch import fetch
from recipe import FOLDER, LANGUAGES, RECIPE, chance, generator, is_held_out, read_table, write_table

TITLE_LANGUAGES = ["it", "fr", "de", "es", "pt"]
HELD_OUT_VARIANTS = 2


def recipe_digest():
    """Of the recipe and of all scripts: another digest, another data set."""
    sha = hashlib.sha256()
    for path in sorted([*FOLDER.glob("*.json"), *FOLDER.glob("*.tsv"), *Path(__file__).parent.glob("*.py")]):
        sha.update(f"{path.name}\n".encode() + path.read_bytes())
    return sha.hexdigest()


def all_things(places):
    words = (places["wamerican"] / "usr/share/dict/american-english").read_text(encoding="utf-8").split()
    lexicon = names.Lexicon(words)
    emoji, icons, furniture = (list(f(places)) for f in (sources.emoji, sources.icons, sources.furniture))
    for thing in [*emoji, *furniture]:
        lexicon.add(thing["names"])
    english = sources.cldr(places["unicode-cldr-core"], "en")
    for language in TITLE_LANGUAGES:
        for character, (name, _) in sources.cldr(places["unicode-cldr-core"], language).items():
            if character in english:
                lexicon.add_foreign(name, english[character][0])
    return [*emoji, *icons, *furniture, *sources.clip_art(places, lexicon)]


# ---- the objects' pictures ---------------------------------------------------------------------------------------------

def cut(task):
    """Loads and cuts out one thing; returns its fingerprint, main colour and the paths of its pictures, or None."""
    thing, path = task
    image = save_cut(sources.load(thing["load"]), path)
    if image is None:
        return None
    colour = picture.main_colour(image)
    views = [(view, path.with_stem(f"{path.stem}-{n}")) for n, view in enumerate(sources.load_views(thing))]
    paths = [path, *(where for view, where in views if save_cut(view, where) is not None)]
    return picture.fingerprint(image).hex(), colour["en"] if colour else None, [str(p) for p in paths]


def save_cut(image, path):
    image = picture.cut_out(image, RECIPE["side"]) if image is not None else None
    if image is not None:
        image.save(path)
    return image


def cut_all(pool, things, folder):
    """The things that can be seen, each picture once, with their colour and the paths of their pictures."""
    folder.mkdir(parents=True)
    tasks = [(thing, folder / f"{i:05d}.png") for i, thing in enumerate(things)]
    kept, seen = [], set()
    for (thing, _), found in zip(tasks, pool.imap(cut, tasks, chunksize=16)):
        if found is None or (thing["style"] == "clip art" and found[0] in seen):
            continue
        seen.add(found[0])
        kept.append({**thing, "colour": found[1], "paths": found[2], "held out": is_held_out("objects", thing["concept"])})
    return kept


# ---- the plan ----------------------------------------------------------------------------------------------------------

def job(kind, thing, number, held_out, **more):
    return {"kind": kind, "thing": thing, "name": f"{kind}/{thing['id']}/{number}", "held out": held_out, **more}


def plan_crops(things):
    """Photographs in equal shares, as are textures."""
    jobs = []
    for kind, count in RECIPE["crops"].items():
        some = [t for t in things if (t["style"] == "texture") == (kind == "texture")]
        for i, thing in enumerate(some):
            share = count * (i + 1) // len(some) - count * i // len(some)
            jobs += [job("crop", thing, n, is_held_out("photos", thing["concept"])) for n in range(share)]
    return jobs


def plan_objects(things):
    jobs = []
    for thing in things:
        variants = thing.get("variants", RECIPE["variants"][thing["style"]])
        for n in range(min(variants, HELD_OUT_VARIANTS) if thing["held out"] else variants):
            jobs.append(job("object", thing, n, thing["held out"], variant=n))
    return jobs


def plan_coloured(things):
    """Objects in other colours; some pairs of colour and object are never trained."""
    some = [t for t in things if can_be_recoloured(t) and not t["held out"]]
    colours = range(len(captions.COLOURS))
    for thing in some:
        thing["seen colours"] = [c for c in colours if not is_held_out("pairs", f"{thing['concept']}/{c}")]
    random, jobs = generator("coloured"), []
    for n in range(RECIPE["coloured"] if some else 0):
        thing, colour = random.choice(some), random.choice(colours)
        jobs.append(job("coloured", thing, n, colour not in thing["seen colours"], colour=colour))
    return jobs


def plan_scenes(things):
    """Of objects with short names, none of them held out."""
    some = [t for t in things if not t["held out"] and "variants" not in t and len(t["names"]) > 1
            and len(t["names"]["en"][0].split()) <= 2 and not re.search("o’clock|-thirty|[A-Z]{2}", t["names"]["en"][0])]
    by_concept = defaultdict(list)
    for thing in some:
        by_concept[thing["concept"]].append(thing)
    concepts, jobs = sorted(by_concept), []
    for kind, count in RECIPE["scenes"].items():
        random = generator("scenes", kind)
        for n in range(count if len(concepts) > 1 else 0):
            a, b = (random.choice(by_concept[c]) for c in random.sample(concepts, 2))
            jobs.append(job(kind, a, n, False, other=b))
    return jobs


# ---- the pictures ------------------------------------------------------------------------------------------------------

@lru_cache(maxsize=64)
def read_cut(path):
    return Image.open(path).convert("RGBA")


def cut_of(random, thing):
    """One of its pictures."""
    paths = thing["paths"]
    return read_cut(random.choice(paths) if len(paths) > 1 else paths[0])


def make(task):
    work, crops, folder, file = task
    image, caption, language = compose(work, cut_of, crops)
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    image.save(folder / file)
    return {"file": file, "caption": caption, "language": language, "kind": work["kind"], "style": work["thing"]["style"],
            "concept": work["thing"]["concept"], "package": work["thing"]["package"],
            "pixels": hashlib.sha256(image.tobytes()).hexdigest()[:16]}


def make_all(pool, jobs, crops, folder, first):
    """The rows of all pictures, numbered from `first`."""
    tasks = [(work, crops, folder, f"pictures/{n // 1000:03d}/{n:06d}.png") for n, work in enumerate(jobs, first)]
    rows = []
    for row in pool.imap(make, tasks, chunksize=32):
        rows.append(row)
        if len(rows) % 1000 == 0:
            print(f"{first + len(rows)} pictures", flush=True)
    return rows


def attribution(things):
    """What CC-BY, BSD and Apache ask for: packages, licences, authors of what was used."""
    authors, counts = defaultdict(set), defaultdict(int)
    for thing in things:
        counts[thing["package"]] += 1
        if thing["author"]:
            authors[thing["package"]].add(" ".join(thing["author"].split()))
    text = "The pictures, names and words from which the default model's training data were made. One block per Debian package.\n"
    for row in read_table(FOLDER / "packages.tsv"):
        text += f"\n== {row['package']} {row['version']}\nsha256: {row['sha256']}\nused: {row['used']}\n" \
                f"licence: {row['licence']}\nauthors: {row['authors']}\n"
        if counts[row["package"]]:
            text += f"objects or files used: {counts[row['package']]}\n"
        if len(authors[row["package"]]) > 1:
            text += "named in the files: " + "; ".join(sorted(authors[row["package"]])) + "\n"
    return text


def make_set(folder, processes):
    places = fetch(folder)
    new = folder / "set.part"
    shutil.rmtree(new, ignore_errors=True)
    things, shots = all_things(places), [*photos.photographs(places), *photos.textures(places)]
    with Pool(processes) as pool:
        print(f"{len(things)} objects to cut out, {len(shots)} photographs and textures", flush=True)
        things = cut_all(pool, things, new / "objects")
        jobs = plan_crops(shots)
        rows = make_all(pool, jobs, [], new, 0)
        crops = [str(new / row["file"]) for row, work in zip(rows, jobs) if not work["held out"]]
        crops = [path for path in crops if chance("ground", Path(path).name) < 0.25]
        more = [*plan_objects(things), *plan_coloured(things), *plan_scenes(things)]
        rows += make_all(pool, more, crops, new, len(rows))
    jobs += more
    for name, held_out in (("train.tsv", False), ("held-out.tsv", True)):
        some = [row for row, work in zip(rows, jobs) if work["held out"] is held_out]
        write_table(new / name, some)
        print(f"{name}: {len(some)} pictures, {len({row['caption'] for row in some})} captions")
    (new / "captions.txt").write_text("".join(sorted({f"{r['caption']}\n" for r, w in zip(rows, jobs) if not w["held out"]})),
                                      encoding="utf-8")
    (new / "ATTRIBUTION.txt").write_text(attribution([*things, *shots]), encoding="utf-8")
    content = hashlib.sha256(b"".join((new / name).read_bytes() for name in ("train.tsv", "held-out.tsv"))).hexdigest()
    (new / "digest").write_text(f"recipe {recipe_digest()}\ncontent {content}\n")
    old = folder / "set.old"
    shutil.rmtree(old, ignore_errors=True)
    if (folder / "set").exists():
        (folder / "set").rename(old)
    new.rename(folder / "set")
    shutil.rmtree(old, ignore_errors=True)
    print(f"content {content}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    done = options.folder / "set" / "digest"
    if done.exists() and done.read_text().split()[1] == recipe_digest():
        print(f"{options.folder / 'set'} is up to date: content {done.read_text().split()[3]}")
        return 0
    make_set(options.folder, options.processes)
    return 0


if __name__ == "__main__":
    sys.exit(main())
