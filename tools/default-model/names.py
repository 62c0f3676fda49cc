"""Names of clip art: what its title, file and key words say, in plain English, and the same in other languages."""
import re

from recipe import RECIPE

NOISE = RECIPE["clip_art"]["noise"]
MOST_WORDS = 5


def clean_name(text, language):
    """A name as one would write it within a sentence: no numbers or remarks at its end; small letters where the language
    has them (German keeps its capitals, as do words such as TV)."""
    text = re.sub(r"\(.*?\)|\[.*?\]", " ", text)
    text = re.sub(r"[\s_]+", " ", text).strip(" .,;:-")
    text = re.sub(r"\s*#?\d+$", "", text)
    if language in ("en", "fr", "es") and text[1:2] == text[1:2].lower():
        text = text[:1].lower() + text[1:]
    return text


def slug(text):
    return re.sub(r"\W+", "_", text.lower()).strip("_")


def name_of_file(stem, author):
    """"bison_leif_lodahl_01" by Leif Lodahl: "bison". The author's part may be cut short."""
    stem = re.sub(r"[_\-]*\d*$", "", slug(stem))
    who = slug(author)
    for length in range(len(who), 3, -1):
        if stem == who[:length]:
            return ""
        if stem.endswith("_" + who[:length]):
            stem = stem[:-length - 1]
            break
    return re.sub(r"[_\d]+", " ", stem).strip()


class Lexicon:
    """Words of English, and phrases with their translations both ways."""

    def __init__(self, words):
        self.words = {word.lower() for word in words}
        self.forward, self.backward = {}, {}

    def add(self, names):
        """names: {language: [names]} of one thing. The first translation of a phrase stays."""
        for english in names.get("en", []):
            entry = self.forward.setdefault(english.lower(), {})
            for language, texts in names.items():
                if language != "en":
                    entry.setdefault(language, list(texts))

    def add_foreign(self, phrase, english):
        """A phrase of any language, to be understood in titles."""
        self.backward.setdefault(phrase.lower(), english.lower())

    def translations(self, english):
        return dict(self.forward.get(english, {}))

    def is_english(self, text):
        """They are few, and two of three are; letters by themselves are none."""
        words = re.findall(r"[^\W\d_]+", text.lower())
        known = sum(word in self.words and len(word) > 1 for word in words)
        return 0 < len(words) <= MOST_WORDS and 3 * known >= 2 * len(words)


def without_noise(text):
    """Small letters, no numbers, no words about the drawing itself."""
    text = re.sub(r"\(.*?\)", " ", text.lower())
    text = re.sub(r"\bby\b.*$", " ", text)
    text = re.sub(r"[\W\d_]+", " ", text.replace("'s", "")).strip()
    for noise in sorted(NOISE, key=len, reverse=True):
        text = re.sub(rf"\b{re.escape(noise)}\b", " ", text)
    return re.sub(r"\s+", " ", text).strip()


def english_of(title, file_name, words, lexicon):
    """The best of title, file name and key words; None where none of them says what it is. Titles of the form "Clipart by
    NAME - x" are another drawing's."""
    if re.match(r"clip ?art by", title, re.I):
        title = ""
    for text in (title, file_name):
        name = without_noise(text)
        if len(name) < 3:
            continue
        if name in lexicon.backward and name not in lexicon.words:
            return lexicon.backward[name]
        if lexicon.is_english(name):
            return name
    for word in words:
        name = without_noise(word)
        if len(name) >= 3 and lexicon.is_english(name):
            return name
    return None
