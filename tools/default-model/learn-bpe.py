"""learn-bpe.py CAPTIONS.txt FOLDER [--size N]: a byte-level BPE from captions, as core/condition/tokenizer.c reads it.

Writes vocab.json and merges.txt in CLIP's form: 256 byte letters, the same ending a word (</w>), merges in the order learnt,
<|startoftext|>, <|endoftext|>. Pairs that are equally frequent merge in the order of their letters, so that the same captions
give the same files."""
import argparse
import heapq
import json
import re
import unicodedata
from collections import Counter, defaultdict
from pathlib import Path

END = "</w>"
SPECIAL = ["<|startoftext|>", "<|endoftext|>"]
LEAST_COUNT = 2  # a pair seen once is not worth an entry


def byte_letters():
    """GPT-2's letter for each byte: printable bytes stand for themselves, the others for letters from U+0100 on."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in plain]
    order = [*plain, *others]
    return {b: chr(b) if b in plain else chr(256 + others.index(b)) for b in order}


LETTERS = byte_letters()


def kind(character):
    """How the tokenizer sorts a character: a letter, a number, space or a sign."""
    if character.isspace():
        return " "
    category = unicodedata.category(character)
    return "L" if category[0] == "L" else "N" if category[0] == "N" else "S"


def words(text):
    """Runs of letters, single numbers, runs of signs; English contractions apart."""
    text = unicodedata.normalize("NFC", text).lower()
    found, i = [], 0
    while i < len(text):
        contraction = re.match(r"'(?:s|t|re|ve|m|ll|d)", text[i:])
        j = i + 1
        if contraction:
            j = i + contraction.end()
        elif kind(text[i]) in "LS":
            while j < len(text) and kind(text[j]) == kind(text[i]):
                j += 1
        if kind(text[i]) != " ":
            found.append(text[i:j])
        i = j
    return found


def letters(word):
    """Its bytes as letters; the last one ends the word."""
    spelt = [LETTERS[b] for b in word.encode()]
    return (*spelt[:-1], spelt[-1] + END)


def merged(symbols, pair):
    out, i = [], 0
    while i < len(symbols):
        if symbols[i:i + 2] == pair:
            out.append(symbols[i] + symbols[i + 1])
            i += 2
        else:
            out.append(symbols[i])
            i += 1
    return tuple(out)


def learn(counts, number):
    """The `number` most useful merges for words {word: count}, or fewer where pairs run out."""
    spelt = {word: letters(word) for word in counts}
    pairs, where = Counter(), defaultdict(set)

    def count(word, sign):
        changed = set(zip(spelt[word], spelt[word][1:]))
        for pair in zip(spelt[word], spelt[word][1:]):
            pairs[pair] += sign * counts[word]
        for pair in changed if sign > 0 else ():
            where[pair].add(word)
        return changed

    for word in spelt:
        count(word, 1)
    heap = [(-n, pair) for pair, n in pairs.items()]
    heapq.heapify(heap)
    merges = []
    while heap and len(merges) < number:
        n, best = heapq.heappop(heap)
        if -n != pairs[best] or -n < LEAST_COUNT:  # an entry of before a merge; the newer one is in the heap too
            continue
        merges.append(best)
        changed = set()
        for word in where.pop(best):
            changed |= count(word, -1)
            spelt[word] = merged(spelt[word], best)
            changed |= count(word, 1)
        for pair in changed:
            heapq.heappush(heap, (-pairs[pair], pair))
    return merges


def encode(word, ranks):
    """The word's tokens: the tokenizer's own procedure, for the test and for counting."""
    symbols = letters(word)
    while len(symbols) > 1:
        best = min(zip(symbols, symbols[1:]), key=lambda p: ranks.get(p, len(ranks)))
        if best not in ranks:
            break
        symbols = merged(symbols, best)
    return list(symbols)


def vocabulary(merges):
    entries = [*LETTERS.values(), *[letter + END for letter in LETTERS.values()]]
    entries += dict.fromkeys(a + b for a, b in merges if a + b not in entries)
    return {entry: number for number, entry in enumerate([*entries, *SPECIAL])}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("captions", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", type=int, default=8192, help="entries of the vocabulary")
    options = parser.parse_args()
    lines = options.captions.read_text(encoding="utf-8").splitlines()
    counts = Counter(word for line in lines for word in words(line))
    merges = learn(counts, options.size - 2 * len(LETTERS) - len(SPECIAL))
    table = vocabulary(merges)
    options.folder.mkdir(parents=True, exist_ok=True)
    (options.folder / "vocab.json").write_text(json.dumps(table, ensure_ascii=False), encoding="utf-8")
    (options.folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges), encoding="utf-8")
    ranks = {pair: rank for rank, pair in enumerate(merges)}
    tokens = {word: len(encode(word, ranks)) for word in counts}
    lengths = sorted(sum(tokens[word] for word in words(line)) for line in lines)
    print(f"{len(counts)} words, {len(table)} entries, {sum(lengths) / len(lengths):.1f} tokens a caption, "
          f"99.9 % have at most {lengths[len(lengths) * 999 // 1000]}, all at most {lengths[-1]}")


if __name__ == "__main__":
    main()
