#!/bin/sh
# lay-out.sh ROOT STAMP HELP PROGRAM CATALOGUE…   the folder GIMP wants: ROOT/pentimento/pentimento, and beside it the
# catalogues (…/po/LL/LC_MESSAGES/pentimento.mo) in locale/ and the pages of the folder HELP in help/. Renames files
# into place, as GIMP may be running.
set -eu
root=$1/pentimento stamp=$2 help=$3 program=$4
shift 4
put() { # SOURCE TARGET
    mkdir -p "$(dirname "$2")"
    cp "$1" "$2.new"
    mv "$2.new" "$2"
}
rm -rf "$root/locale" "$root/help"
put "$program" "$root/pentimento"
for catalogue; do
    put "$catalogue" "$root/locale/${catalogue##*po/}"
done
for page in "$help"/*/*; do
    put "$page" "$root/help/${page#"$help"/}"
done
: >"$stamp"
