# shellcheck shell=bash
# What the commands do once they run where GIMP 3 is. Sourced by ./dev after place.sh; one function task_NAME per command.
# shellcheck disable=SC2154

tree=$PENTIMENTO_TREE
build=${PENTIMENTO_BUILD:-build${PENTIMENTO_SUITE:+-$PENTIMENTO_SUITE}}
[[ $build = /* ]] || build=$tree/$build
checked=$build-asan
sanitized_suites=(unit kernels badfiles parity train)
plain_suites=(cli gimp ui style)

# Quiet when there is nothing to do; one builder at a time in one folder.
compile() { # FOLDER MESON-OPTIONS…
    local folder=$1 output quiet=--quiet
    shift
    [ ! -t 2 ] || quiet= # progress is for people
    mkdir -p "$folder"
    (
        flock 8
        # meson speaks only if it fails
        if [ -e "$folder/build.ninja" ]; then
            output=$(ninja -C "$folder" build.ninja 2>&1)
        else
            output=$(meson setup "$folder" "$tree" "$@" 2>&1)
        fi || {
            tail -n 8 <<<"$output" >&2
            exit 1
        }
        if ! ninja -C "$folder" -n | grep -q 'no work to do'; then
            ninja -C "$folder" ${quiet:+"$quiet"} >&2
        fi
    ) 8>"$folder/.lock"
}

task_build() { compile "$build"; }

# Settings under which the programs built in a folder find one another.
built_environment() { # FOLDER
    export PENTIMENTO_BUILD=$1
    export PENTIMENTO_WORKER=$1/core/worker/pentimento-worker
    export PENTIMENTO_CLI=$1/core/cli/pentimento
    export PENTIMENTO_MODEL_PATH=${PENTIMENTO_MODEL_PATH:-$tree/data/models}
    export PENTIMENTO_DATA_DIR=$tree/data
    export PENTIMENTO_LOCALE_DIR=$1/po
    # A socket for each state of the worker: neither an installed one nor one from before the last build answers
    local stamp
    stamp=$(stat -c %Y "$PENTIMENTO_WORKER" 2>/dev/null || echo 0)
    export PENTIMENTO_WORKER_SOCKET=$1/run/$stamp.sock
    if [ ${#PENTIMENTO_WORKER_SOCKET} -gt 90 ]; then
        PENTIMENTO_WORKER_SOCKET=/tmp/pentimento-dev-$(id -u)-$(cksum <<<"$1" | cut -d' ' -f1)/$stamp.sock
    fi
    # shellcheck disable=SC2174  # the folders above are there
    mkdir -p -m 700 "$(dirname "$PENTIMENTO_WORKER_SOCKET")"
}

task_cli() {
    [ -x "$build/core/cli/pentimento" ] || task_build
    built_environment "$build"
    exec "$PENTIMENTO_CLI" "$@"
}

# A private configuration: nobody's settings are read or changed, and few plug-ins start.
gimp_configuration() {
    local version
    version=$(gimp-console-3 --version) # of settings of another one it would tell what is new
    export GIMP3_DIRECTORY=${GIMP3_DIRECTORY:-$build/gimp-config}
    mkdir -p "$GIMP3_DIRECTORY"
    # what a person then sets in there stays
    # shellcheck disable=SC2016
    grep -qsF "(plug-in-path \"$build/plugin-root:" "$GIMP3_DIRECTORY/gimprc" ||
        printf '%s\n' "(plug-in-path \"$build/plugin-root:"'${gimp_plug_in_dir}/plug-ins")' '(check-updates no)' \
            '(show-welcome-dialog no)' "(config-version \"${version##* }\")" >"$GIMP3_DIRECTORY/gimprc"
}

task_gimp() {
    local argument program=gimp-3
    [ -e "$build/plugin-root" ] || task_build
    built_environment "$build"
    gimp_configuration
    for argument; do
        case $argument in
            --) break ;;
            --no-interface) program=gimp-console-3 ;;
            --*) ;;
            -*i*) [[ $argument =~ ^-[ndfsa]*i ]] && program=gimp-console-3 ;;
        esac
    done
    exec "$program" "$@"
}

task_demo() {
    task_build
    built_environment "$build"
    gimp_configuration
    exec "$tree/demo/demo.sh" "$@"
}

task_bench() {
    task_build
    built_environment "$build"
    exec "$tree/tests/bench/run" "$@"
}

usage_evaluate() {
    cat <<'TEXT'
Usage: ./dev evaluate-default MODEL [OPTIONS]     measure a model on the default model's held-out pictures

  --against MODEL       a second model, measured beside the first
  --checkpoint FILE     averaged weights of a run, RUN/checkpoints/step-N.safetensors, in place of MODEL's own
  --parts LIST          what to measure: reconstruction, fills, pictures, learn (default: all but the last)
  --quick               few samples: some minutes, figures to compare roughly
  --pictures N          pictures of each group that are encoded and decoded (default: 64; quick: 16)
  --textures N          textures of which a part is filled (default: 8; quick: 2)
  --samples N           fills of each texture (default: 16; quick: 4)
  --steps N             steps of each fill and each generated picture (default: 20)
  --learn N             steps of learning from each texture (default: 1000; quick: 150)
  --images N            pictures generated for held-out captions (default: 256; quick: 64)
  --concepts N          prompts of seen concepts, and of unseen pairs (default: 128; quick: 24)
  --gallery N           training pictures among which the nearest is sought (default: all; quick: 4000)
  --size N              pixels a side of generated pictures (default: the model's own)
  --request NAME=VALUE  a setting of generated pictures, such as guidance=3; may be given several times
  --features DIR        the network that sees generated pictures (default: data/default/features)
  --set DIR             the data set (default: ~/.cache/pentimento/default-data/set)
  -o DIR                where figures.md and figures.json are written (default: out/evaluate-default)
TEXT
}

task_evaluate-default() {
    task_build
    built_environment "$build"
    exec "$build/tools/default-model/evaluate/evaluate-default" -o "$tree/out/evaluate-default" \
        --features "$tree/data/default/features" "$@"
}

# Sorts the names given to `test`: suites into --suite options, other options and test names as they are.
# Sets `chosen`, and `chosen_sanitized`: empty if none of the named suites has a sanitized run.
choose_tests() {
    local name known=" ${sanitized_suites[*]} ${plain_suites[*]} "
    chosen=() chosen_sanitized=() names=()
    for name; do
        if [[ $known = *" $name "* ]]; then
            chosen+=(--suite "$name")
            [[ " ${sanitized_suites[*]} " != *" $name "* ]] || chosen_sanitized+=(--suite "$name")
        else
            names+=("$name")
        fi
    done
    if [ ${#chosen[@]} = 0 ]; then
        for name in "${sanitized_suites[@]}"; do chosen_sanitized+=(--suite "$name"); done
    fi
}

tests_of() { # SUITES…
    meson test -C "$build" --no-rebuild --list "${@/#/--suite=}" 2>/dev/null | sed 's|.* / ||'
}

# Leaves in `names` what a sanitized build knows, and nothing in `chosen_sanitized` where that is no test: meson takes a name
# that it does not know for a failure.
choose_sanitized() {
    local name plain sanitized known=() left=0 gone=0
    [ ${#names[@]} -gt 0 ] || return 0
    plain=$(tests_of "${plain_suites[@]}") sanitized=$(tests_of "${sanitized_suites[@]}")
    for name in "${names[@]}"; do
        if grep -qxF -e "$name" <<<"$plain" && ! grep -qxF -e "$name" <<<"$sanitized"; then
            gone=1
        else
            known+=("$name")
            [[ $name = -* ]] || left=1
        fi
    done
    names=("${known[@]}")
    [ $gone -eq 0 ] || [ $left -eq 1 ] || chosen_sanitized=()
}

task_test() {
    local failed=0 chosen chosen_sanitized names
    choose_tests "$@"
    task_build || build_failed
    rm -f "$build/meson-logs/testlog.json" "$checked/meson-logs/testlog.json"
    # generous limits: they catch what hangs, also on a busy machine
    run_tests "$build" --timeout-multiplier 2 "${chosen[@]}" || failed=1
    choose_sanitized
    if [ ${#chosen_sanitized[@]} -gt 0 ]; then
        compile "$checked" -Dplugin=false -Db_sanitize=address,undefined -Db_lundef=false || build_failed
        # allocations that fail return NULL, as they do without the sanitizer;
        # ASAN_OPTIONS=fast_unwind_on_malloc=0 shows the whole way to a leak, twice as slowly
        export ASAN_OPTIONS=detect_leaks=1:allocator_may_return_null=1:detect_stack_use_after_return=1:${ASAN_OPTIONS-}
        export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 PENTIMENTO_SANITIZED=1
        run_tests "$checked" --timeout-multiplier 6 "${chosen_sanitized[@]}" || failed=1
    fi
    python3 "$tree/tools/dev/count-tests.py" "$build" "$checked" || failed=1
    return "$failed"
}

# The sanitized suites for arm64, in one plain run: emulation costs enough. It lasts for one process and knows no limit of
# memory: left out is what starts a program of ours or sets one.
task_cross-test() {
    local chosen chosen_sanitized names
    local beyond=(/checked/memory-available /param/twice /checkpoint/kills)
    choose_tests "$@"
    build=$build-arm64
    compile "$build" --cross-file "$place_tools/arm64.ini" -Dplugin=false || build_failed
    export GDK_PIXBUF_MODULE_FILE=$build/loaders.cache # which Debian makes by running them
    qemu-aarch64 /usr/lib/aarch64-linux-gnu/gdk-pixbuf-2.0/gdk-pixbuf-query-loaders >"$GDK_PIXBUF_MODULE_FILE"
    rm -f "$build/meson-logs/testlog.json"
    run_tests "$build" --timeout-multiplier 20 --test-args "${beyond[*]/#/-s }" "${chosen_sanitized[@]}"
}

build_failed() {
    echo "The build failed: no test ran."
    echo "0 passed, 1 failed"
    exit 1
}

run_tests() { # FOLDER MESON-OPTIONS…
    built_environment "$1"
    meson test -C "$1" --no-rebuild --print-errorlogs --num-processes 2 "${@:2}" "${names[@]}"
}

task_format() { # [FILES…]
    local file files=("$@")
    if [ $# -eq 0 ]; then
        while IFS= read -r -d '' file; do
            [ ! -e "$tree/$file" ] || files+=("$tree/$file")
        done < <(git -C "$tree" ls-files -co --exclude-standard -z -- '*.c' '*.h')
    fi
    [ ${#files[@]} -eq 0 ] || clang-format-19 -i "${files[@]}"
}

task_lint() { "$tree/tests/style/run" "$@"; }

task_clean() { # [all]
    local path
    case ${1-} in '' | all) ;; *) die "clean takes nothing, or the word all" ;; esac
    rm -rf --one-file-system "$build" "$checked" "$build-arm64"
    [ "${1-}" = all ] || return 0
    for path in "$place_root"{,-arm64}{,.new,.log,.lock}; do
        [ ! -e "$path" ] || place_as_root rm -rf --one-file-system "$path"
    done
    rm -rf --one-file-system "$place_cache/reference" "$place_cache/native-packages"
}
