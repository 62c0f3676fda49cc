# Run inside GIMP by tests/gimp/run: the script under test with harness.py's names, then the count.
import os
import sys

sys.path.insert(0, os.environ["TEST_HERE"])
import harness  # noqa: E402

harness.run_script(os.environ["TEST_SCRIPT"])
