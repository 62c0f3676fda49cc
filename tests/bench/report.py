"""Puts measured tables into a page: report.py OUT PAGE. Between the lines `<!-- bench NAME -->` and `<!-- end -->` of PAGE
goes what OUT/NAME.md holds; what was not measured stays as it is, and so does all else."""
import os
import re
import sys


def main():
    out, page = sys.argv[1:]
    with open(page) as f:
        text = f.read()

    def measured(match):
        path = os.path.join(out, match[1] + ".md")
        if not os.path.exists(path):
            return match[0]
        with open(path) as f:
            return f"<!-- bench {match[1]} -->\n{f.read().strip()}\n<!-- end -->"

    with open(page, "w") as f:
        f.write(re.sub(r"<!-- bench (\w+) -->\n.*?<!-- end -->", measured, text, flags=re.S))


if __name__ == "__main__":
    main()
