#!/usr/bin/env bash
# The main job on a real photo in a headless GIMP: Fill Selection, Reimagine, Generate; pictures before and after go into out/.
# ./dev demo calls it with the built programs' places in the environment. FOLDER (default out/) as first argument.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=${1:-$here/../out}
mkdir -p "$out"
DEMO_OUT=$(cd "$out" && pwd)
export DEMO_OUT DEMO_SCRIPT=$here/demo.py DEMO_PHOTO=$here/coffee.jpg DEMO_REPORT=$DEMO_OUT/report.txt
rm -f "$DEMO_REPORT"
echo "Starting GIMP without windows ..."
gimp-console-3 -idfs --batch-interpreter python-fu-eval \
    -b "import os; exec(compile(open(os.environ['DEMO_SCRIPT']).read(), 'demo.py', 'exec'))" --quit >"$DEMO_OUT/gimp.log" 2>&1 </dev/null || {
    cat "$DEMO_REPORT" 2>/dev/null || true
    tail -n 20 "$DEMO_OUT/gimp.log" >&2
    echo "The demo failed; what GIMP said is in $DEMO_OUT/gimp.log" >&2
    exit 1
}
cat "$DEMO_REPORT"
