"""make-clip-vocabulary.py BPE.txt.gz FOLDER: writes vocab.json and merges.txt of CLIP's tokenizer.

BPE.txt.gz is `bpe_simple_vocab_16e6.txt.gz` of OpenAI's CLIP (MIT licence), e.g. from the PyPI
package clip-anytorch: pip download --no-deps clip-anytorch, then unzip.
Vocabulary: 256 byte symbols, the same at a word's end, one entry per merge, start and end of text.
"""
import gzip
import hashlib
import json
import sys
from pathlib import Path

SHA256 = "924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a"
WORDS = 49408

source, folder = Path(sys.argv[1]).read_bytes(), Path(sys.argv[2])
if hashlib.sha256(source).hexdigest() != SHA256:
    sys.exit("not CLIP's own list of merges")
merges = gzip.decompress(source).decode("utf-8").split("\n")[1 : WORDS - 512 - 2 + 1]

# GPT-2's printable stand-ins: bytes that are visible characters stand for themselves.
visible = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
symbols = [chr(b) for b in visible] + [chr(256 + n) for n in range(256 - len(visible))]
words = symbols + [s + "</w>" for s in symbols] + [m.replace(" ", "") for m in merges]
words += ["<|startoftext|>", "<|endoftext|>"]
if len(set(words)) != WORDS:
    sys.exit("the vocabulary has another size than CLIP's")

folder.mkdir(parents=True, exist_ok=True)
vocabulary = json.dumps({w: i for i, w in enumerate(words)}, ensure_ascii=False, separators=(",", ":"))
(folder / "vocab.json").write_text(vocabulary + "\n", encoding="utf-8")
(folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n", encoding="utf-8")
