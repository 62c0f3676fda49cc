"""Captions from templates: an object's names in, text in one of five languages out (data/default/captions.json)."""
import re

from recipe import read_json

TABLE = read_json("captions.json")
LANGUAGES = TABLE["languages"]
COLOURS = TABLE["colours"]


def plural(name):
    """The English plural of a name, told by its last word; names with a tail ("cup of tea") by the word before it."""
    head, *tail = re.split(r"(?= (?:of|with|in|on|and|without) )", name, maxsplit=1)
    start, last = head.rpartition(" ")[::2]
    if last in TABLE["plurals"]:
        last = TABLE["plurals"][last]
    elif re.search(r"(ss|x|z|ch|sh)$", last):
        last += "es"
    elif last.endswith("s"):  # "fries", "glasses"
        pass
    elif re.search(r"[^aeiou]y$", last):
        last = last[:-1] + "ies"
    else:
        last += "s"
    return f"{start} {last}".strip() + "".join(tail)


def languages(names, *others):
    """The languages in which all of them have a name; English first and thrice as likely as each other one."""
    shared = [l for l in LANGUAGES if all(n.get(l) for n in (names, *others))]
    return ["en", "en"] * ("en" in shared) + shared


def pick(random, template, language):
    choices = TABLE[template][language]
    return choices if isinstance(choices, str) else random.choice(choices)


def colour_word(colour, language, ground=False):
    word = colour[language]
    return word[1 if ground else 0] if isinstance(word, list) else word


def describe(random, thing, language, template="object"):
    """An object or photograph by its name, style and key words."""
    tags = thing["tags"].get(language, []) if "tags" in thing else []
    name = random.choice(thing["names"][language])
    tags = [t for t in tags if t.lower() != name.lower()]
    text = pick(random, template, language)
    if "{tags}" in text:
        text = text if tags else "{name}"
        joint = "、" if language == "ja" else ", "
        tags = joint.join(random.sample(tags, min(2, len(tags))))
    return text.format(name=name, tags=tags, style=TABLE["styles"][thing["style"]][language])


def coloured(name, colour, language):
    return TABLE["coloured"][language].format(name=name, colour=colour_word(colour, language))


def on_ground(caption, colour, language):
    return TABLE["ground"][language].format(name=caption, colour=colour_word(colour, language, ground=True))


def counted(name, n, language):
    number = TABLE["numbers"][language][n - 1]
    return TABLE["count"][language].format(n=number, name=name, plural=plural(name) if language == "en" else name)


def placed(random, how, a, b, language):
    """how: beside (a left of b) or above."""
    return pick(random, how, language).format(a=a, b=b)
