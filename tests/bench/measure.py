"""What the measurements share: the machine, medians with their spread, tables, whole processes.

    measure.py FILE.md    writes the tables of a Markdown file as FILE.json
"""
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time

THREADS = 2


def processor():
    with open("/proc/cpuinfo") as f:
        lines = f.read().split("\n")
    name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    flags = next((line.split() for line in lines if line.startswith("flags")), [])
    return name, [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in flags]


def machine():
    name, flags = processor()
    return f"{name} ({', '.join(flags)}), {THREADS} threads"


def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "runs": len(values)}


def cell(values, digits=3):
    """A spread as text: median (least–most)."""
    middle, least, most = (f"{values[key]:.{digits}f}" for key in ("median", "min", "max"))
    return middle if values["runs"] == 1 else f"{middle} ({least}–{most})"


def table(head, rows):
    """Markdown; the first column is text, the others are numbers."""
    lines = [head, ["---"] + ["--:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def write(out, text, data):
    """OUT.md for people, OUT.json for programs; says the first on standard output too."""
    name, flags = processor()
    print("\n" + text)
    with open(out + ".md", "w") as f:
        f.write(text + "\n")
    with open(out + ".json", "w") as f:
        json.dump({"processor": name, "flags": flags, "threads": THREADS, **data}, f, indent=1)


def environment():
    """Of the programs that are measured: as many threads each, nothing from the network."""
    count = str(THREADS)
    return dict(os.environ, PENTIMENTO_THREADS=count, OMP_NUM_THREADS=count, HF_HUB_OFFLINE="1",
                TRANSFORMERS_OFFLINE="1")


def lines_of(stream):
    """Lines as they come; progress bars end theirs with a carriage return."""
    rest = b""
    while piece := os.read(stream.fileno(), 65536):
        *whole, rest = re.split(rb"[\r\n]", rest + piece)
        yield from (line.decode(errors="replace") for line in whole)
    yield rest.decode(errors="replace")


def run_process(command, watch=lambda line: None):
    """One whole process, cold: seconds from its start to its end, peak resident MB, and the lines of output for which
    `watch` gives a name: {name: [seconds since the start, ...]}."""
    start, found, last = time.monotonic(), {}, []
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment())
    for line in lines_of(process.stdout):
        name = watch(line)
        if name is not None:
            found.setdefault(name, []).append(time.monotonic() - start)
        last = [*last[-5:], line]
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit("\n".join([f"{command[0]} failed:", *last]))
    return {"seconds": seconds, "peak_mb": usage.ru_maxrss / 1024, "found": found}


def event(line):
    """A line of `pentimento --json`; {} for any other."""
    try:
        return json.loads(line) if line.startswith("{") else {}
    except ValueError:
        return {}


def tables_of(text):
    """The tables of a Markdown text, each with the heading before it and its rows by column."""
    found, heading, head = [], "", None
    for line in text.splitlines():
        cells = [item.strip() for item in line.strip("|").split("|")] if line.startswith("|") else None
        if line.startswith("#"):
            heading = line.lstrip("# ")
        if cells is None:
            head = None
        elif head is None:
            head = cells
            found.append({"heading": heading, "rows": []})
        elif not re.fullmatch("[-:| ]*", line):
            found[-1]["rows"].append(dict(zip(head, cells)))
    return found


def main():
    path = sys.argv[1]
    name, flags = processor()
    with open(path) as f:
        found = tables_of(f.read())
    with open(os.path.splitext(path)[0] + ".json", "w") as f:
        json.dump({"processor": name, "flags": flags, "tables": found}, f, indent=1)


if __name__ == "__main__":
    main()
