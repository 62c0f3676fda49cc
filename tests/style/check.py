"""check.py TREE CHECK…: the house rules that a program can check (CONTRIBUTING.md gives them with reasons).

Each check prints `path:line: what is wrong` and makes the exit status 1."""
import re
import shutil
import subprocess
import sys
from pathlib import Path

MAX_FILE, MAX_FUNCTION, WIDTH = 800, 100, 100
SOFT_FUNCTION = 60
TABLE = re.compile(r"-tables?\.[ch]$")  # named tables may be long

STAGES = ["prepare", "condition", "encode", "diffuse", "denoise", "decode", "finish"]
GROUND = ["base", "tensor", "kernels", "layers", "weights"]
TOP = ["pipeline", "train", "worker", "cli"]
BORDER = {"worker/protocol.h"}  # all of core that plugin/ may see

tree = Path(sys.argv[1]).resolve()
faults = 0


def fault(path, line, text):
    global faults
    faults += 1
    print(f"{path}:{line}: {text}")


def files(*patterns):
    """Paths, relative to the tree, of what git knows or would add; all files where there is no git."""
    command = ["git", "-C", str(tree), "ls-files", "-co", "--exclude-standard", "-z", "--", *patterns]
    done = subprocess.run(command, capture_output=True)
    if done.returncode == 0:
        names = {name for name in done.stdout.decode().split("\0") if name}
    else:
        hidden = re.compile(r"(^|/)(build|out|\.git)")
        names = {str(p.relative_to(tree)) for pattern in patterns for p in tree.rglob(pattern)}
        names = {name for name in names if not hidden.search(name)}
    return [Path(name) for name in sorted(names) if (tree / name).is_file()]


def read(path):
    return (tree / path).read_text(encoding="utf-8", errors="surrogateescape")


def check_format():
    """clang-format, over all C."""
    tool = shutil.which("clang-format-19") or shutil.which("clang-format")
    if not tool:
        print("clang-format is not installed")
        sys.exit(77)
    sources = [str(p) for p in files("*.c", "*.h")]
    if not sources:
        return
    done = subprocess.run([tool, "--dry-run", *sources], cwd=tree, capture_output=True, text=True)
    found = re.findall(r"^(\S+?):(\d+):\d+: warning", done.stderr, re.M)
    first = {}
    for name, line in found:
        first.setdefault(name, (int(line), sum(n == name for n, _ in found)))
    for name, (line, count) in first.items():
        fault(name, line, f"not as clang-format lays it out ({count} places; ./dev format mends it)")


def check_text():
    """White space, width and final newline."""
    for path in files("*.c", "*.h", "*.py", "*.sh", "*.md", "meson.build", "meson_options.txt", "dev", ".ci/run"):
        text = read(path)
        code = path.suffix in {".c", ".h"}
        if text and not text.endswith("\n"):
            fault(path, text.count("\n") + 1, "no newline at the end")
        for number, line in enumerate(text.splitlines(), 1):
            if line != line.rstrip() and not (path.suffix == ".md" and line.endswith("  ")):
                fault(path, number, "space at the end of the line")
            if code and "\t" in line:
                fault(path, number, "tab")
            if code and len(line) > WIDTH and not TABLE.search(path.name) and "http" not in line:
                fault(path, number, f"{len(line)} columns, {WIDTH} allowed")


def functions(lines):
    """(first line, length) of each function body: between braces in the first column."""
    start = None
    for number, line in enumerate(lines, 1):
        if line.startswith("{"):
            start = number
        elif line.startswith("}") and start:
            yield start, number - start - 1
            start = None


def check_size():
    """Lengths of files and functions; the comment that each .c begins with."""
    for path in files("*.c", "*.h"):
        lines = read(path).splitlines()
        if len(lines) > MAX_FILE and not TABLE.search(path.name):
            fault(path, 1, f"{len(lines)} lines, {MAX_FILE} allowed (only *-table.c may be longer)")
        for start, length in functions(lines):
            if length > MAX_FUNCTION:
                fault(path, start, f"function of {length} lines, {MAX_FUNCTION} allowed")
            elif length > SOFT_FUNCTION:
                print(f"note: {path}:{start}: function of {length} lines; {SOFT_FUNCTION} are readable")
        if path.suffix != ".c":
            continue
        least = 1 if path.parts[0] == "tests" else 2
        end = next((i for i, line in enumerate(lines, 1) if "*/" in line), 0)
        if not lines or not lines[0].startswith("/*") or not least <= end <= 6:
            fault(path, 1, f"does not begin with a comment of {least} to 6 lines: its place, what comes in and goes out")


def forbidden(path, include):
    """Why this file may not include that header; None if it may."""
    top, part = path.parts[0], path.parts[1] if len(path.parts) > 2 else ""
    target = include.split("/")[0]
    if top == "core":
        if re.match(r"(libgimp|gtk/|gdk/)", include):
            return "core knows neither GIMP nor GTK"
        if part in STAGES and target in STAGES and target != part:
            return "stages do not include one another (pipeline/types.h holds what they share)"
        if part in STAGES and target in TOP and include != "pipeline/types.h":
            return "a stage does not know who calls it"
        if part in GROUND and target in STAGES + TOP:
            return "the ground does not know what stands on it"
    elif top in {"plugin", "ui"}:
        if target in STAGES + GROUND + TOP + ["ldm.h", "core"] and include not in BORDER:
            return f"only {', '.join(sorted(BORDER))} crosses the process border"
        if top == "ui" and include.startswith("gegl"):
            return "no pixel work in ui"
    return None


def check_layers():
    """Who may include whom."""
    pattern = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]')
    for path in files("core/*", "plugin/*", "ui/*"):
        if path.suffix not in {".c", ".h"}:
            continue
        for number, line in enumerate(read(path).splitlines(), 1):
            match = pattern.match(line)
            reason = match and forbidden(path, re.sub(r"^(\.\./)*(core/)?", "", match[1]))
            if reason:
                fault(path, number, f"includes {match[1]}: {reason}")


def check_shell():
    """shellcheck, over every shell script."""
    if not shutil.which("shellcheck"):
        print("shellcheck is not installed")
        sys.exit(77)
    scripts = [p for p in files("*") if p.suffix in {"", ".sh"} and read(p)[:64].startswith(("#!/usr/bin/env bash", "#!/bin/sh", "#!/bin/bash", "# shellcheck"))]
    done = subprocess.run(["shellcheck", "--format=gcc", "--severity=warning",
                           "--exclude=SC2119,SC2120",  # optional arguments
                           *map(str, scripts)],
                          cwd=tree, capture_output=True, text=True)
    for line in done.stdout.splitlines():
        path, number, text = line.split(":", 2)
        fault(path, number, text)


def check_translations():
    """Every text that people see is marked, listed, and translated into Japanese."""
    listing = next((p for p in files("po/*") if p.name in {"POTFILES", "POTFILES.in"}), None)
    catalogue = tree / "po" / "ja.po"
    if not listing or not catalogue.exists():
        fault("po", 1, "no POTFILES or no ja.po")
        return
    listed = [line.strip() for line in read(listing).splitlines() if line.strip() and line[0] != "#"]
    for name in listed:
        if not (tree / name).exists():
            fault(listing, 1, f"lists {name}, which does not exist")
    marked = re.compile(r'\b(_|N_|C_|ngettext)\s*\(\s*"')
    for path in files("core/*", "plugin/*", "ui/*"):
        if path.suffix == ".c" and str(path) not in listed and marked.search(read(path)):
            fault(path, 1, f"has texts to translate but is not in {listing}")
    if faults:
        return
    pot = subprocess.run(["xgettext", "--from-code=UTF-8", "-k_", "-kN_", "-kC_:1c,2", "-kNC_:1c,2",
                          "-kg_dngettext:2,3", "--output=-", f"--files-from={listing}"],
                         cwd=tree, capture_output=True, check=True).stdout
    merged = subprocess.run(["msgmerge", "--quiet", "--no-fuzzy-matching", str(catalogue), "-"],
                            input=pot, capture_output=True, check=True).stdout
    missing = subprocess.run(["msgattrib", "--untranslated", "--no-wrap", "-"], input=merged, capture_output=True).stdout
    missing += subprocess.run(["msgattrib", "--only-fuzzy", "--no-wrap", "-"], input=merged, capture_output=True).stdout
    for text in re.findall(r'^msgid ("..*"|""\n(?:".*"\n)+)', missing.decode(), re.M):
        if text != '""':
            fault("po/ja.po", 1, f"not translated: {text[:90]}")
    for po in files("po/*.po"):
        done = subprocess.run(["msgfmt", "--check", "--output=/dev/null", str(po)], cwd=tree, capture_output=True, text=True)
        if done.returncode:
            fault(po, 1, done.stderr.strip().splitlines()[0])


def check_help():
    """The help pages know every procedure, and name what is in the dialogs as the dialogs do."""
    sources = "".join(read(p) for p in files("plugin/*") if p.suffix in {".c", ".h"})
    procedures = set(re.findall(r'"(plug-in-pentimento-\w+)"', sources))
    texts = subprocess.run(["msgcat", "--no-wrap", str(tree / "po" / "ja.po")], capture_output=True, check=True).stdout.decode()
    pairs = re.findall(r'^msgid "(.+)"\nmsgstr "(.+)"$', texts, re.M)
    labels = {"en": {english.replace("_", "") for english, _ in pairs},
              "ja": {re.sub(r"\(_.\)", "", japanese) for _, japanese in pairs}}
    for language, known in labels.items():
        folder = Path("data/help") / language
        index, page = read(folder / "gimp-help.xml"), read(folder / "index.html")
        parts = dict(re.findall(r'id="([^"]+)" ref="index.html#([^"]+)"', index))
        for name in sorted(procedures - parts.keys()):
            fault(folder / "gimp-help.xml", 1, f"does not know {name}")
        for part in parts.values():
            if f'id="{part}"' not in page:
                fault(folder / "index.html", 1, f"has no part {part}")
        for label in re.findall(r"<b>(.*?)</b>", page):
            if label not in known:
                fault(folder / "index.html", 1, f"»{label}« is nothing in the dialogs")


CHECKS = {name[6:]: check for name, check in list(globals().items()) if name.startswith("check_")}
unknown = [name for name in sys.argv[2:] if name not in CHECKS]
if unknown:
    sys.exit(f"no such check: {', '.join(unknown)} ({', '.join(CHECKS)})")
for name in sys.argv[2:] or CHECKS:
    CHECKS[name]()
sys.exit(1 if faults else 0)
