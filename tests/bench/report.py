"""Puts measured tables into pages: report.py OUT PAGE... Between the lines `<!-- bench NAME -->` and `<!-- end -->` of a page
goes what OUT/NAME.md holds; what was not measured stays as it is, and so does all else."""
import os
import re
import sys


def renew(out, page):
    def measured(match):
        path = os.path.join(out, match[1] + ".md")
        if not os.path.exists(path):
            return match[0]
        with open(path) as f:
            return f"<!-- bench {match[1]} -->\n{f.read().strip()}\n<!-- end -->"

    with open(page) as f:
        text = f.read()
    with open(page, "w") as f:
        f.write(re.sub(r"<!-- bench (\w+) -->\n.*?<!-- end -->", measured, text, flags=re.S))


def main():
    out, *pages = sys.argv[1:]
    for page in pages:
        renew(out, page)


if __name__ == "__main__":
    main()
