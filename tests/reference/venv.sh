#!/usr/bin/env bash
# venv.sh run SCRIPT [ARGS]   run tests/reference/SCRIPT with the reference framework     (./dev reference SCRIPT …)
# venv.sh path                print the environment's folder
# Either makes the private Python environment first: in the cache, outside the tree, under a lock; pip resumes what was
# interrupted. Only making or checking fixtures needs it: the tests themselves read the fixtures that are committed.
set -euo pipefail
here=$(cd "$(dirname "$(readlink -f "$0")")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/pentimento
venv=${PENTIMENTO_REFERENCE:-$cache/reference}
wanted=$here/requirements.txt
torch=$(sed -n 's/^torch==//p' "$wanted")

say() { printf 'reference: %s\n' "$*" >&2; }
die() { say "$@"; exit 1; }

# Does this interpreter's pip serve a CPU build of torch? On Linux PyPI's own is a CUDA build of several GB.
serves_cpu_torch() { # PYTHON
    "$1" -m pip install --dry-run --no-deps --ignore-installed --quiet --report - "torch==$torch" 2>/dev/null |
        "$1" -c '
import json, sys
try:
    torch = json.load(sys.stdin)["install"][0]["metadata"]
except ValueError:
    sys.exit(1)
needs = " ".join(torch.get("requires_dist", []))
sys.exit("nvidia" in needs or "cuda" in needs)'
}

# Sets `python`, or fails. Where packages come from is pip's own business: its configuration and PIP_* variables.
choose_python() {
    local candidate
    for candidate in "${PENTIMENTO_PYTHON-}" python3 python3.13 python3.12 python3.11 python3.14 python3.10; do
        [ -n "$candidate" ] && python=$(command -v "$candidate") || continue
        "$python" -c 'import ensurepip, venv' 2>/dev/null || continue
        ! serves_cpu_torch "$python" || return 0
    done
    return 1
}

make_venv() {
    local python
    choose_python || die "pip finds no CPU build of torch $torch for the Python versions here. Tell pip where PyTorch's CPU" \
        "packages are (extra-index-url in pip.conf, or PIP_EXTRA_INDEX_URL; pytorch.org says which), check the network and" \
        "that python3-venv is installed, or name another interpreter in PENTIMENTO_PYTHON"
    say "installing torch $torch (CPU), diffusers, transformers into $venv with $("$python" --version)"
    [ -x "$venv/bin/python" ] && "$venv/bin/python" -m pip --version >/dev/null 2>&1 || "$python" -m venv --clear "$venv" >&2
    "$venv/bin/python" -m pip install --quiet -r "$wanted" >&2 ||
        die "pip could not install them: check the network and its proxy, then run this again"
    cp "$wanted" "$venv/requirements.part"
    mv "$venv/requirements.part" "$venv/requirements.txt"
}

case ${1-} in
    path) ;;
    run)
        [ $# -ge 2 ] || die "which script of tests/reference?"
        script=$2
        [ -e "$script" ] || script=$here/$script
        [ -e "$script" ] || die "there is no script $2 in tests/reference"
        ;;
    *) die "use: venv.sh run SCRIPT [ARGS], or venv.sh path" ;;
esac
mkdir -p "$(dirname "$venv")"
if ! cmp -s "$wanted" "$venv/requirements.txt"; then
    (
        exec 9>"$venv.lock"
        flock -n 9 || { say "another set-up is under way; waiting for it" && flock 9; }
        cmp -s "$wanted" "$venv/requirements.txt" || make_venv
    )
fi

if [ "$1" = path ]; then
    printf '%s\n' "$venv"
    exit
fi
shift 2
export HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 PENTIMENTO_TREE=${PENTIMENTO_TREE:-$(dirname "$(dirname "$here")")}
exec "$venv/bin/python" "$script" "$@"
