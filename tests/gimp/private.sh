# shellcheck shell=bash
# Sourced by the runners of tests in a real GIMP: everything GIMP, the plug-in and the worker write lies in $TEST_FOLDER,
# which goes when the test ends. Few plug-ins start, so that a start takes a second or two.
TEST_FOLDER=$(mktemp -d "${TMPDIR:-/tmp}/pentimento-test.XXXXXX")
export TEST_FOLDER
clean_up() {
    # the worker sees GIMP end and ends too; what it still writes must not keep the folder
    for _ in 1 2 3 4 5; do
        rm -rf "$TEST_FOLDER" 2>/dev/null && break
        sleep 0.2
    done
}
trap clean_up EXIT
mkdir -m 700 "$TEST_FOLDER/run" "$TEST_FOLDER/gimp" "$TEST_FOLDER/plug-ins"
export GIMP3_DIRECTORY=$TEST_FOLDER/gimp HOME=$TEST_FOLDER/home TEST_TAP=$TEST_FOLDER/tap
export XDG_RUNTIME_DIR=$TEST_FOLDER/run XDG_STATE_HOME=$TEST_FOLDER/state XDG_CACHE_HOME=$TEST_FOLDER/cache
export XDG_CONFIG_HOME=$TEST_FOLDER/config XDG_DATA_HOME=$TEST_FOLDER/data
export PENTIMENTO_WORKER_SOCKET=$TEST_FOLDER/run/worker.sock
export PENTIMENTO_WORKER=$TEST_FOLDER/worker # a link, so that a test can put something else there
ln -s "$TEST_WORKER" "$PENTIMENTO_WORKER"
export GEGL_CACHE_SIZE=64 NO_AT_BRIDGE=1
mkdir -p "$HOME"
: >"$TEST_TAP"
gimp_plug_ins=$(pkg-config --variable=gimplibdir gimp-3.0)/plug-ins
for name in python-eval file-jpeg file-png help web-browser; do
    ln -s "$gimp_plug_ins/$name" "$TEST_FOLDER/plug-ins/$name"
done
printf '(plug-in-path "%s:%s")\n' "$TEST_PLUG_IN_ROOT" "$TEST_FOLDER/plug-ins" >"$GIMP3_DIRECTORY/gimprc"
printf '(check-updates no)\n(save-session-info no)\n(num-processors 2)\n' >>"$GIMP3_DIRECTORY/gimprc"
