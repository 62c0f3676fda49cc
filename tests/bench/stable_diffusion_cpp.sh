#!/usr/bin/env bash
# stable_diffusion_cpp.sh PYTHON FOLDER: builds stable-diffusion.cpp's command line in FOLDER, once, from the sources in a
# Python source distribution (its default build: -march=native, its own kernels), and prints the program's path. PYTHON is
# the interpreter whose pip brings the sources and cmake. Where it cannot be built: one sentence and status 1.
set -euo pipefail
python=$1 folder=$2
version=0.4.7
program=$folder/build/bin/sd-cli

give_up() {
    echo "stable-diffusion.cpp is left out: $*" >&2
    exit 1
}

if [ ! -x "$program" ]; then
    mkdir -p "$folder"
    exec 9>"$folder/.lock"
    flock 9
fi
if [ ! -x "$program" ]; then
    log=$folder/build.log
    echo "building stable-diffusion.cpp in $folder, some minutes …" >&2
    "$python" -m pip install --quiet cmake ninja scikit-build-core >"$log" 2>&1 || give_up "no cmake from pip ($log)"
    "$python" -m pip download --quiet --no-deps --no-build-isolation --no-binary stable-diffusion-cpp-python \
        --dest "$folder" "stable-diffusion-cpp-python==$version" >>"$log" 2>&1 || give_up "no sources from pip ($log)"
    tar -xzf "$folder/stable_diffusion_cpp_python-$version.tar.gz" -C "$folder"
    PATH=$(dirname "$python"):$PATH
    {
        cmake -G Ninja -S "$folder/stable_diffusion_cpp_python-$version/vendor/stable-diffusion.cpp" \
            -B "$folder/build.part" -DCMAKE_BUILD_TYPE=Release -DSD_WEBP=OFF -DSD_WEBM=OFF &&
            cmake --build "$folder/build.part" --target sd-cli -j 2
    } >>"$log" 2>&1 </dev/null || give_up "it does not build ($log)"
    mv "$folder/build.part" "$folder/build"
fi
echo "$program"
