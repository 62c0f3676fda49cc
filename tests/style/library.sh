#!/usr/bin/env bash
# library.sh LIBLDM.SO LDM.H   prints TAP: the header compiles alone in C and in C++, and the shared library has exactly
# the functions that it declares.
set -u
library=$1
header=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
number=0

ok() { # STATUS NAME FILE-THAT-SAYS-WHY
    number=$((number + 1))
    if [ "$1" -eq 0 ]; then echo "ok $number - $2"; else
        echo "not ok $number - $2"
        sed 's/^/# /' "$3"
    fi
}

read -ra flags <<<"$(pkg-config --cflags gio-2.0)"
compile() { # COMPILER-AND-OPTIONS…
    "$@" -fsyntax-only -Wall -Wextra -Werror "${flags[@]}" -include "$header" /dev/null 2>"$work/said"
}
for standard in c99 c17; do
    compile cc -x c -std=$standard
    ok $? "ldm.h compiles alone as $standard" "$work/said"
done
compile c++ -x c++ -std=c++11
ok $? 'ldm.h compiles alone as C++' "$work/said"

nm -D --defined-only "$library" | awk '{ print $3 }' | sort >"$work/exported"
grep -oE '\bldm_[a-z0-9_]+\(' "$header" | tr -d '(' | sort -u >"$work/declared"
[ -s "$work/declared" ] && diff "$work/declared" "$work/exported" >"$work/said"
ok $? 'libldm exports what ldm.h declares, and nothing else' "$work/said"
echo "1..$number"
