"""What of the default model's recipe needs no download: captions, filters, names, held-out concepts, the learnt vocabulary.
Prints TAP. test-recipe.py SOURCE-TREE"""
import importlib
import json
import random
import string
import sys
import tempfile
from collections import Counter
from pathlib import Path

tree = Path(sys.argv[1])
sys.path.insert(0, str(tree / "tools" / "default-model"))
import captions
import names
import recipe

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
