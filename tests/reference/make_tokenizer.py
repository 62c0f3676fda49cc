"""Token ids that transformers' CLIPTokenizer gives hard strings, into data/tokenizer/:

prompts.json  the strings
ids.json      per vocabulary: ids of each string, cut to its length but not padded
"""
import json
import os

from transformers import CLIPTokenizer

HERE = os.path.dirname(os.path.abspath(__file__))
TREE = os.path.dirname(os.path.dirname(HERE))
OUT = os.path.join(HERE, "data", "tokenizer")

PROMPTS = [
    "", " ", "   \t\n ", "a", "a photo of a red apple", "A Photo OF a RED Apple", "  leading and   inner spaces ",
    "tabs\tand\nnew\r\nlines\x0b\x0c", "no\u00a0break\u2003em\u3000ideographic\u0085next\u2028line",
    "it's they're we've I'm he'll she'd don't 's 'tis rock'n'roll 'S 'LL o'clock''s",
    "1 22 333 4,000.50 3.14e-10 ½ ² Ⅷ ⅷ ٣ १२ １２３ ④ 一二三", "hello!!! what?! ... -- __init__ a_b-c/d\\e (x:1.4) [y] {z} <lora:z:1>",
    "##hash #tag @me :) ;-) $9.99 100% ~^`|", "日本語のテキスト、東京タワーと富士山。", "カタカナ ｶﾀｶﾅ ひらがな が か\u3099 ぱ は\u309a",
    "桜の木の下で猫が寝ている写真", "中文提示词,红苹果", "한국어 프롬프트 \u1112\u1161\u11ab", "👩‍👩‍👧‍👦 family", "🇯🇵🇩🇪 flags 🏴󠁧󠁢󠁥󠁮󠁧󠁿",
    "👍👍🏽👍🏿 ❤️ ❤ ☺︎ 1️⃣ 🧑🏾‍🚀", "café cafe\u0301 naïve nai\u0308ve Åse A\u030ase \u212bse ﬁne", "ÀÉÎÕÜ àéîõü Œuvre Łódź Ørsted",
    "İstanbul Iğdır ıslak", "Straße STRASSE ẞ", "ΟΔΥΣΣΕΥΣ ὈΔΥΣΣΕΎΣ Σίσυφος Σ", "Привет МИР Ёлка Е\u0308лка", "שלום עולם", "مرحبا بالعالم \u0640\u064e",
    "हिन्दी में क्षत्रिय", "ภาษาไทย น้ำ", "Ｆｕｌｌ－ｗｉｄｔｈ　ＬＥＴＴＥＲＳ！", "z\u0300\u0301\u0302\u0303\u0323algo t\u0336e\u0336x\u0336t\u0336", "\u0301alone", "\ufffd \ufffd\ufffd x\ufffdy",
    "\ufeffbom zero\u200bwidth join\u200der soft\u00adhyphen rtl\u202e mark\u200e", "<|startoftext|>", "<|endoftext|>", "a <|endoftext|> b<|startoftext|>c<|endoftext|>!!",
    "<|ENDOFTEXT|>!! <|StartOfText|>x !<|endoftext|", "ǅ ǆ Ǆ Ⓐⓐ Ⓩⓩ Ⅰ Ⅻ Ⅿ ⅿ ↀ Ↄ ꭰ Ꭰ", "𝓯𝓪𝓷𝓬𝔂 𝔸𝔹 𐐀𐐨", "\x01\x02\x7f control \x1b[0m", "!", "a dog! ha!! !",
    "pneumonoultramicroscopicsilicovolcanoconiosis" * 3, "x" * 500, "word " * 200, "東" * 100, "cat " * 38 + "dog", "cat " * 75, "cat " * 76, "'" * 20, "' s 't",
]


def main():
    os.makedirs(OUT, exist_ok=True)
    with open(os.path.join(OUT, "prompts.json"), "w") as f:
        json.dump(PROMPTS, f, indent=0)
        f.write("\n")
    own, clip = (os.path.join(TREE, "data", *p) for p in (("models", "default", "tokenizer"), ("tokenizer", "clip")))
    ids = {}
    for name, folder, tokens, pad in (("default", own, 40, "<|endoftext|>"), ("clip", clip, 77, "<|endoftext|>"),
                                      ("clip-pad-0", clip, 77, "!")):
        tokenizer = CLIPTokenizer(vocab=os.path.join(folder, "vocab.json"), merges=os.path.join(folder, "merges.txt"),
                                  pad_token=pad)
        ids[name] = [tokenizer(p, truncation=True, max_length=tokens).input_ids for p in PROMPTS]
    with open(os.path.join(OUT, "ids.json"), "w") as f:
        f.write("{\n" + ",\n".join(json.dumps(n) + ": [\n" + ",\n".join(json.dumps(i, separators=(",", ":")) for i in v) + "]"
                                  for n, v in ids.items()) + "}\n")
    print(len(PROMPTS), "prompts,", len(ids), "vocabularies")


main()
