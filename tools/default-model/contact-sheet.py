"""contact-sheet.py LIST.tsv OUT.png [--kind K] [--style S] [--number N] [--seed N]: pictures of a set with their captions."""
import argparse
import random
import textwrap
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from recipe import read_table

COLUMNS, SIDE, TEXT = 10, 128, 34
FONTS = ["/usr/share/fonts/opentype/ipafont-gothic/ipag.ttf", "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf"]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("list", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--kind")
    parser.add_argument("--style")
    parser.add_argument("--number", type=int, default=80)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rows = [row for row in read_table(options.list)
            if options.kind in (None, row["kind"]) and options.style in (None, row["style"])]
    rows = random.Random(options.seed).sample(rows, min(options.number, len(rows)))
    font = next((ImageFont.truetype(path, 11) for path in FONTS if Path(path).exists()), ImageFont.load_default())
    cell = SIDE + 6, SIDE + TEXT
    sheet = Image.new("RGB", (COLUMNS * cell[0], -(-len(rows) // COLUMNS) * cell[1]), (225, 225, 225))
    draw = ImageDraw.Draw(sheet)
    for i, row in enumerate(rows):
        x, y = i % COLUMNS * cell[0], i // COLUMNS * cell[1]
        sheet.paste(Image.open(options.list.parent / row["file"]), (x, y))
        wide = row["language"] == "ja"
        lines = textwrap.wrap(row["caption"], 11 if wide else 21)[:3]
        draw.multiline_text((x, y + SIDE), "\n".join(lines), fill="black", font=font, spacing=0)
    sheet.save(options.out)


if __name__ == "__main__":
    main()
