"""What of the default model's recipe needs no download: captions, filters, names, held-out concepts, the learnt vocabulary.
Prints TAP. test-recipe.py SOURCE-TREE"""
import importlib
import json
import random
import string
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy

tree = Path(sys.argv[1])
sys.path.insert(0, str(tree / "tools" / "default-model"))
import captions
import names
import recipe
import views

bpe = importlib.import_module("learn-bpe")
TOKENIZER = recipe.FOLDER / "model" / "tokenizer"


def test_templates_are_whole():
    fields = {"name", "tags", "style", "colour", "n", "plural", "a", "b"}
    for key in ("object", "photo", "coloured", "ground", "count", "beside", "above"):
        assert set(captions.TABLE[key]) == set(recipe.LANGUAGES), key
        for texts in captions.TABLE[key].values():
            for text in [texts] if isinstance(texts, str) else texts:
                assert {f for _, f, _, _ in string.Formatter().parse(text) if f} <= fields, text
    for style in captions.TABLE["styles"].values():
        assert set(style) == set(recipe.LANGUAGES)


def test_captions():
    red = captions.COLOURS[0]
    assert captions.coloured("apple", red, "en") == "red apple"
    assert captions.coloured("りんご", red, "ja") == "赤いりんご"
    assert captions.on_ground("Apfel", red, "de") == "Apfel auf rotem Hintergrund"
    assert captions.counted("box of matches", 3, "en") == "three boxes of matches"
    assert captions.counted("chat", 2, "fr") == "2 × chat"
    placed = {captions.placed(random.Random(i), "above", "cat", "dog", "en") for i in range(20)}
    assert placed == {"cat above dog", "cat at the top, dog at the bottom"}
    thing = {"style": "emoji", "names": {"de": ["Hund"]}, "tags": {}}
    assert {captions.describe(random.Random(i), thing, "de") for i in range(40)} == {"Hund", "Hund, Emoji", "Emoji: Hund"}


def test_plurals():
    for one, many in {"cat": "cats", "mouse": "mice", "fries": "fries", "glass": "glasses", "berry": "berries", "key": "keys",
                      "computer mouse": "computer mice", "bus": "buses"}.items():
        assert captions.plural(one) == many, (one, captions.plural(one))


def test_languages():
    assert captions.languages({"de": ["Hund"], "ja": ["犬"]}) == ["ja", "de"]
    assert captions.languages({"en": ["dog"], "de": ["Hund"]}, {"en": ["cat"]}) == ["en", "en", "en"]


def test_filters():
    assert recipe.is_allowed("red apple", "gunnera", "chest of drawers")
    for text in ("water pistol", "the Linux penguin", "two_guns_01", "Star-Wars robot"):
        assert not recipe.is_allowed(text), text


def test_names():
    lexicon = names.Lexicon(["red", "apple", "bison", "happy", "dog"])
    lexicon.add({"en": ["dog"], "ja": ["犬"]})
    lexicon.add_foreign("cane", "dog")
    assert names.name_of_file("bison_leif_lodahl_01", "Leif Lodahl") == "bison"
    assert names.name_of_file("happy_dog_architetto_fra_01", "Architetto Francesco Rollandin") == "happy dog"
    assert names.english_of("Red Apple (B and W)", "", [], lexicon) == "red apple"
    assert names.english_of("Clipart by Nicu - bison", "dog", [], lexicon) == "dog"
    assert names.english_of("cane", "", [], lexicon) == "dog"
    assert names.english_of("xyzzy", "qwrt", ["happy"], lexicon) == "happy"
    assert names.english_of("xyzzy", "", [], lexicon) is None
    assert lexicon.translations("dog") == {"ja": ["犬"]}
    assert names.clean_name("Bed 2", "en") == "bed" and names.clean_name("Bett", "de") == "Bett"


def test_held_out():
    words = [f"concept {i}" for i in range(20000)]
    share = sum(recipe.is_held_out("objects", word) for word in words) / len(words)
    assert abs(share - recipe.RECIPE["held_out"]["objects"]) < 0.005
    assert recipe.generator("a").random() == recipe.generator("a").random() != recipe.generator("b").random()


def test_manifest():
    rows = recipe.read_table(recipe.FOLDER / "packages.tsv")
    used = {row["package"] for row in recipe.read_table(recipe.FOLDER / "photos.tsv")}
    assert used <= {row["package"] for row in rows}
    assert all(len(row["sha256"]) == 64 and row["version"] and row["licence"] and row["authors"] for row in rows)
    assert not any("GPL" in row["licence"] or "-SA" in row["licence"] for row in rows)


def test_tables():
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.tsv"
        recipe.write_table(path, [{"file": "a.png", "caption": 'a "b"\tc'}])
        assert recipe.read_table(path) == [{"file": "a.png", "caption": 'a "b" c'}]


def test_learning():
    counts = Counter({"low": 5, "lower": 2, "newest": 6, "widest": 3})
    assert bpe.learn(counts, 2) == [("e", "s"), ("es", "t</w>")]
    ranks = {pair: rank for rank, pair in enumerate(bpe.learn(counts, 100))}
    assert bpe.encode("newest", ranks) == ["newest</w>"]
    assert bpe.words("It's  2 Äpfel, 赤い!") == ["it", "'s", "2", "äpfel", ",", "赤い", "!"]


def read_vocabulary():
    table = json.loads((TOKENIZER / "vocab.json").read_text(encoding="utf-8"))
    lines = (TOKENIZER / "merges.txt").read_text(encoding="utf-8").splitlines()[1:]
    return table, [tuple(line.split(" ")) for line in lines]


def test_vocabulary():
    """The committed vocabulary: whole, of the size that the model has, and every text comes back."""
    table, merges = read_vocabulary()
    config = json.loads((recipe.FOLDER / "model/text_encoder/config.json").read_text())
    assert sorted(table.values()) == list(range(config["vocab_size"]))
    assert (table["<|startoftext|>"], table["<|endoftext|>"]) == (config["bos_token_id"], config["eos_token_id"])
    assert all(a in table and b in table and a + b in table for a, b in merges)
    ranks = {pair: rank for rank, pair in enumerate(merges)}
    back = {letter: byte for byte, letter in bpe.LETTERS.items()}
    for word in ("apple", "りんご", "apfel", "pomme", "manzana", "größe", "l", "ß", "ñandú", "🦊", "xyzzy"):
        tokens = bpe.encode(word, ranks)
        assert all(token in table for token in tokens), word
        assert bytes(back[c] for c in "".join(tokens).replace("</w>", "")).decode() == word
    for word in ("apple", "りんご", "apfel", "pomme", "manzana"):
        assert len(bpe.encode(word, ranks)) <= 3, (word, bpe.encode(word, ranks))


def test_tokens():
    """tokens.tsv, which the tokenizer in C is tested with, is what the script's own encoding gives."""
    table, merges = read_vocabulary()
    ranks = {pair: rank for rank, pair in enumerate(merges)}
    for line in (Path(__file__).parent / "tokens.tsv").read_text(encoding="utf-8").splitlines():
        caption, ids = line.split("\t")
        found = [table[token] for word in bpe.words(caption) for token in bpe.encode(word, ranks)]
        assert found == [int(i) for i in ids.split()], (caption, found)


def square(z, half, colour, pieces=1, **more):
    """A square that looks to the front, cut into pieces x pieces x 2 triangles."""
    at = numpy.linspace(-half, half, pieces + 1)
    corners = [[(at[i + a], at[j + b], z) for a, b in turn] for i in range(pieces) for j in range(pieces)
               for turn in (((0, 0), (1, 0), (1, 1)), ((0, 0), (1, 1), (0, 1)))]
    points = numpy.array(corners)
    return views.Part(points, numpy.broadcast_to([0.0, 0.0, 1.0], points.shape), numpy.array(colour), **more)


def test_views_cover():
    """What a square covers does not depend on how it is cut, has no holes, and is as large as perspective says."""
    whole = views.render([square(0, 0.5, (1, 1, 1))], 0, 0, 100)
    side = views.FOCUS / views.ROOM * 0.5 * 100
    assert abs(whole[..., 3].sum() - side**2) < 2 * side and set(numpy.unique(whole[..., 3])) == {0, 1}
    assert whole[50 - 20:50 + 20, 50 - 20:50 + 20, 3].all() and not whole[:20, :, 3].any()
    for pieces in (3, 40):
        assert (views.render([square(0, 0.5, (1, 1, 1), pieces)], 0, 0, 100)[..., 3] == whole[..., 3]).all(), pieces
    turned = views.render([square(0, 0.5, (1, 1, 1))], 60, 0, 100)[..., 3].sum()
    assert 0.4 < turned / whole[..., 3].sum() < 0.6


def test_views_hide():
    """The nearer square is seen, from behind the other; glass lets through."""
    red, blue = square(0.3, 0.4, (1, 0, 0)), square(-0.3, 0.4, (0, 0, 1))
    for parts in ((red, blue), (blue, red)):
        assert (views.render(parts, 0, 0, 40)[20, 20, :3] > 0.5).tolist() == [True, False, False]
        assert (views.render(parts, 180, 0, 40)[20, 20, :3] > 0.5).tolist() == [False, False, True]
    glass = square(0.3, 0.4, (1, 0, 0), opacity=0.5)
    pixel = views.render([glass, blue], 0, 0, 40)[20, 20]
    assert pixel[0] > 0.3 and pixel[2] > 0.3 and pixel[3] == 1, pixel
    assert views.render([glass], 0, 0, 40)[20, 20, 3] == 0.5


def test_views_texture():
    """v points up, u to the right."""
    texture = numpy.zeros((2, 2, 3))
    texture[0, 1] = 1  # white at the top right
    part = square(0, 0.5, (0, 0, 0), texture=texture)
    part.uv = part.points[..., :2] + 0.5
    seen = views.render([part], 0, 0, 40)[..., 0] > 0.5
    assert seen[12, 28] and not seen[28, 28] and not seen[12, 12] and not seen[28, 12]


def test_denoiser_list():
    """What training sees how often: things once, photographs twice, textures five times, some of these without words."""
    rows = ["file\tcaption\tlanguage\tkind\tstyle", "a.png\tcat\ten\tobject\temoji", "b.png\tsky\ten\tcrop\tphoto",
            "c.png\twood\ten\tcrop\ttexture"]
    script = tree / "tools" / "default-model" / "denoiser-list.awk"
    listed = subprocess.run(["awk", "-v", "set=/set", "-f", script], input="\n".join(rows) + "\n", capture_output=True, text=True,
                            check=True).stdout.splitlines()
    assert listed[:4] == [rows[0], *("/set/" + row for row in rows[1:])], listed
    times = Counter(tuple(row.split("\t")[:2]) for row in listed[1:])
    assert times == {("/set/a.png", "cat"): 1, ("/set/b.png", "sky"): 1, ("/set/b.png", ""): 1, ("/set/c.png", "wood"): 3,
                     ("/set/c.png", ""): 2}, times


TESTS = [(name, test) for name, test in list(globals().items()) if name.startswith("test_")]
print(f"1..{len(TESTS)}")
failed = 0
for number, (name, test) in enumerate(TESTS, 1):
    try:
        test()
        print(f"ok {number} - {name}")
    except AssertionError as fault:
        failed += 1
        print(f"not ok {number} - {name}: line {fault.__traceback__.tb_next.tb_lineno} {fault}")
sys.exit(failed > 0)
