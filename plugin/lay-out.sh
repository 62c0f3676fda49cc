#!/bin/sh
# lay-out.sh ROOT STAMP PROGRAM CATALOGUE…   the folder GIMP wants: ROOT/pentimento/pentimento, and the catalogues
# (…/po/LL/LC_MESSAGES/pentimento.mo) in locale/ beside it. Renames files into place, as GIMP may be running.
set -eu
root=$1/pentimento stamp=$2 program=$3
shift 3
put() { # SOURCE TARGET
    mkdir -p "$(dirname "$2")"
    cp "$1" "$2.new"
    mv "$2.new" "$2"
}
rm -rf "$root/locale"
put "$program" "$root/pentimento"
for catalogue; do
    put "$catalogue" "$root/locale/${catalogue##*po/}"
done
: >"$stamp"
