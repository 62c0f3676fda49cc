# shellcheck shell=bash
# Where commands run. Sourced by ./dev. Native = this system's own GIMP 3; else a private Debian 13 root in the cache.
# place_is_here: are we there already?  place_ready: make it so.  place_enter CMD…: run CMD there (does not return).

place_tools=$PENTIMENTO_TREE/tools/dev
place_cache=${XDG_CACHE_HOME:-$HOME/.cache}/pentimento
place_suite=${PENTIMENTO_SUITE-} # of Debian, for a private root beside the usual one; PENTIMENTO_SUITE=testing has a newer GIMP
place_root=${PENTIMENTO_ROOT:-$place_cache/debian-${place_suite:-13}}
place_mark=etc/pentimento-root # in the private root; holds the list of packages that are installed in it
place_lists=("$place_tools/packages.txt") # a command that needs more adds its own list

say() { printf 'dev: %s\n' "$*" >&2; }
die() { say "$@"; exit 1; }

# The same order whatever the caller's language
sorted() { LC_ALL=C sort -u; }
without() { LC_ALL=C comm -23 "$@"; }

place_packages() { sed -E 's/[[:space:]]*(#.*)?$//; /^$/d' "${place_lists[@]}" | sorted; }

# Is every package in the list that an earlier set-up left in file $1?
place_complete() { [ -e "$1" ] && [ -z "$(without <(place_packages) "$1")" ]; }

# Runs a command as root, keeping what a download needs of the environment.
place_as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo --preserve-env=http_proxy,https_proxy,ftp_proxy,no_proxy,HTTP_PROXY,HTTPS_PROXY,NO_PROXY,SSL_CERT_FILE,PENTIMENTO_DEBIAN_MIRROR,PENTIMENTO_SUITE "$@"
    else
        die "this needs root rights once, for packages: run it as root, or install sudo"
    fi
}

# Native if told so, or if GIMP 3's headers are installed or among this system's own packages.
place_is_native() {
    [ -z "$place_suite" ] || return 1
    case ${PENTIMENTO_NATIVE-} in
        1) return 0 ;;
        0) return 1 ;;
    esac
    [ ! -e "$place_root/$place_mark" ] || return 1
    pkg-config --exists gimp-3.0 gimpui-3.0 2>/dev/null || place_has_gimp3_packages
}

place_has_gimp3_packages() {
    command -v apt-get >/dev/null || return 1
    (
        . /etc/os-release
        case $ID in # also where apt's lists are still empty, as on a bare machine
            debian) [ "${VERSION_ID:-13}" -ge 13 ] ;;
            ubuntu) [ "${VERSION_ID%%.*}" -ge 26 ] || [ "$VERSION_ID" = 25.04 ] || [ "$VERSION_ID" = 25.10 ] ;;
            *) false ;;
        esac
    ) || [ -z "$(place_without_candidate libgimp-3.0-dev)" ]
}

# Those of the named packages that apt could not install.
place_without_candidate() {
    without <(printf '%s\n' "$@" | sorted) \
        <(LC_ALL=C apt-cache policy "$@" 2>/dev/null | awk '/^[^ ]/ { name = $1; sub(/:$/, "", name) }
            /^  Candidate: [0-9]/ { print name }' | sorted)
}

place_is_here() {
    [ -e "/$place_mark" ] && return 0
    place_is_native || return 1
    place_ready_native
}

place_ready() {
    [ -e "/$place_mark" ] && return 0
    if place_is_native; then place_ready_native; else place_ready_root; fi
}

place_ready_native() {
    local missing stamp=$place_cache/native-packages
    ! place_complete "$stamp" || return 0
    if command -v apt-get >/dev/null; then
        missing=$(without <(place_packages) \
            <(dpkg-query -W -f '${db:Status-Abbrev}|${Package}\n' 2>/dev/null | sed -n 's/^.i |//p' | sorted))
        # shellcheck disable=SC2086
        [ -z "$missing" ] || place_install $missing
    elif ! pkg-config --exists gimp-3.0 gimpui-3.0; then
        die "GIMP 3 (libgimp-3.0, libgimpui-3.0) is not installed here; tools/dev/packages.txt lists what is" \
            "needed, under Debian's names"
    fi
    mkdir -p "$place_cache"
    place_packages >"$stamp"
}

place_install() {
    local absent apt="place_as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=600"
    absent=$(place_without_candidate "$@")
    if [ -n "$absent" ]; then
        say "refreshing apt's package lists"
        $apt update >&2 || die "apt-get update failed: check the network and the proxy, then run this again"
        absent=$(place_without_candidate "$@")
    fi
    ! grep -qx libgimp-3.0-dev <<<"$absent" || die "this system's packages have no GIMP 3; PENTIMENTO_NATIVE=0 makes a private root"
    # shellcheck disable=SC2086
    [ -z "$absent" ] || say "not among this system's packages, left out:" $absent
    # shellcheck disable=SC2046,SC2086
    set -- $(printf '%s\n' "$@" | grep -vxF "${absent:-none}")
    say "installing with apt-get (once): $*"
    $apt install -y --no-install-recommends "$@" >&2 ||
        { $apt update >&2 && $apt install -y --no-install-recommends "$@" >&2; } ||
        die "apt-get could not install them: check the network and the disk, then run this again"
}

# One set-up at a time; the others wait for it, then find its work done.
place_ready_root() {
    ! place_complete "$place_root/$place_mark" || return 0
    mkdir -p "$(dirname "$place_root")" || die "cannot write to $(dirname "$place_root"); PENTIMENTO_ROOT names another place"
    (
        exec 9>"$place_root.lock" || die "cannot write $place_root.lock; PENTIMENTO_ROOT names another place"
        if ! flock -n 9; then
            say "another set-up is under way; waiting for it"
            flock 9
        fi
        ! place_complete "$place_root/$place_mark" || exit 0
        place_as_root bash "$place_tools/make-root.sh" "$place_root" "${place_lists[@]}" >&2
    ) || exit 1
}

# Runs a command there, in the caller's folder; does not return.
place_enter() {
    if [ -e "/$place_mark" ] || place_is_native; then
        place_ready
        exec "$@"
    fi
    place_ready_root
    if [ "$(id -u)" = 0 ]; then
        unshare --mount true 2>/dev/null || die "no right to make mounts here (a container without CAP_SYS_ADMIN?)"
        exec unshare --mount --propagation private bash "$place_tools/enter-root.sh" "$place_root" "" "$PWD" "$@"
    fi
    # sudo empties the environment: it goes over in a file that only its owner can read
    local environment
    environment=$(mktemp) && env -0 >"$environment"
    exec sudo unshare --mount --propagation private \
        bash "$place_tools/enter-root.sh" "$place_root" "$environment" "$PWD" "$@"
}
