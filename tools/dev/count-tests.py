"""count-tests.py BUILD…: adds up the last `meson test` of each build folder and prints `N passed, N failed`.

Fails if a test failed, or none ran."""
import json
import sys
from pathlib import Path

GOOD = {"OK", "EXPECTEDFAIL"}
passed = failed = skipped = 0
names = []
for build in sys.argv[1:]:
    log = Path(build, "meson-logs", "testlog.json")
    if not log.exists():  # none of the wanted tests is in this build
        continue
    for line in log.read_text(errors="replace").splitlines():
        test = json.loads(line)
        if test["result"] in GOOD:
            passed += 1
        elif test["result"] == "SKIP":
            skipped += 1
        else:
            failed += 1
            names.append(f"{test['result']}: {test['name']} ({Path(build).name})")
if names:
    print("\nFailed:\n  " + "\n  ".join(names))
print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
sys.exit(1 if failed or not passed else 0)
