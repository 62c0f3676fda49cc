"""The recipe of the default model's data (data/default/), random numbers that follow from names, and what is held out."""
import csv
import hashlib
import json
import random
import re
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "data" / "default"
LANGUAGES = ["en", "ja", "de", "fr", "es"]


def read_json(name):
    return json.loads((FOLDER / name).read_text(encoding="utf-8"))


def read_table(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def write_table(path, rows):
    """Rows are dicts with the same keys; what would break a line becomes a space."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        file.write("\t".join(rows[0]) + "\n")
        for row in rows:
            file.write("\t".join(re.sub(r"[\t\r\n]+", " ", str(value)) for value in row.values()) + "\n")


RECIPE = read_json("recipe.json")


def chance(*names):
    """A number in [0, 1) that depends on the seed and the names alone."""
    text = "/".join([str(RECIPE["seed"]), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64


def generator(*names):
    """Random numbers for one picture: the same whatever else is made, and in whatever order."""
    return random.Random("/".join([str(RECIPE["seed"]), *map(str, names)]))


def is_held_out(kind, concept):
    return chance("held out", kind, concept) < RECIPE["held_out"][kind]


BLACK_LIST = re.compile(r"(?<!\w)(" + "|".join(map(re.escape, RECIPE["black_list"])) + r")(?:s|es)?(?!\w)")


def is_allowed(*texts):
    """No brand, weapon of war or nakedness in any of these."""
    return not any(BLACK_LIST.search(re.sub(r"[_\W]+", " ", text.lower())) for text in texts)
