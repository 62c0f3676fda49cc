#!/usr/bin/env bash
# make-root.sh ROOT PACKAGES.txt…   as root, under ./dev's lock.
# Makes the private root, of Debian 13 or the suite that $PENTIMENTO_SUITE names, or brings an unfinished or older one up to
# the lists of packages.
# The bare system is built aside and renamed when whole; the packages go in by apt, which resumes by itself.
set -euo pipefail
root=$1
shift
suite=${PENTIMENTO_SUITE:-trixie}
mark=$root/etc/pentimento-root
log=$root.log
new=$root.new
needed_mb=3500

say() { printf 'dev: %s\n' "$*"; }
die() { say "$@"; exit 1; }

# Runs one step with its output in the log; shows the log's end if the step fails.
step() {
    local what=$1
    shift
    say "$what"
    if ! "$@" >>"$log" 2>&1 </dev/null; then
        grep -E '^(E|W|Err|dpkg|mmdebstrap)' "$log" | tail -n 8 || true
        if grep -qiE 'no space left|not enough free space|disk quota' "$log"; then
            die "the disk is full: $root needs about 2.5 GB; PENTIMENTO_ROOT names another place. Log: $log"
        elif grep -qiE 'could not (resolve|connect)|failed to fetch|connection (failed|refused|timed out)|unable to connect|temporary failure|unreachable' "$log"; then
            die "packages could not be downloaded: check the network and the proxy (http_proxy, or apt's own settings), then run this again. Log: $log"
        fi
        die "this step failed; the whole log is $log"
    fi
}

# The machine's own Debian mirrors, as apt understands them, mapped to the suite; else the mirror that $PENTIMENTO_DEBIAN_MIRROR
# names.
sources() {
    local codename
    codename=$(. /etc/os-release && echo "${VERSION_CODENAME-}")
    apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT) $(ORIGIN)' 'Identifier: Packages' 2>/dev/null |
        while read -r uri release component origin; do
            [ "$component" = main ] || continue
            case $origin in Debian | '' | *ORIGIN*) ;; *) continue ;; esac
            case $release in
                "$codename" | stable | oldstable) echo "deb $uri $suite main" ;;
                "$codename"-updates | stable-updates | oldstable-updates) echo "deb $uri $suite-updates main" ;;
                "$codename"-security | stable-security | oldstable-security) echo "deb $uri $suite-security main" ;;
            esac
        done | sort -u >"$work/sources.list"
    if ! grep -q " $suite main" "$work/sources.list" || [ "$(. /etc/os-release && echo "$ID")" != debian ]; then
        [ -n "${PENTIMENTO_DEBIAN_MIRROR-}" ] ||
            die "this system's package sources name no Debian mirror. Give one's URL in PENTIMENTO_DEBIAN_MIRROR"
        echo "deb $PENTIMENTO_DEBIAN_MIRROR $suite main" >"$work/sources.list"
    fi
}

# What this machine's apt needs to reach its mirror: proxies, time-outs, checks. Credentials and keys are laid in later.
apt_settings() {
    apt-config dump --format '%f "%v";%n' 2>/dev/null |
        grep -E '^Acquire::(https?|ftp|Retries|ForceIPv|Check-|Max-ValidTime|Queue-Mode|By-Hash)' |
        grep -vE '::(CAInfo|CAPath|Proxy-Auto-Detect|ProxyAutoDetect)\b' | grep -v '""' || true
    if [ -e /etc/ssl/certs/ca-certificates.crt ]; then
        echo 'Acquire::https::CAInfo "/etc/ssl/certs/ca-certificates.crt";'
    fi
}

make_base() {
    local keyring keyrings=()
    for keyring in /usr/share/keyrings/debian-archive-keyring.gpg /etc/apt/trusted.gpg.d /etc/apt/keyrings; do
        [ ! -e "$keyring" ] || keyrings+=("--keyring=$keyring")
    done
    rm -rf --one-file-system "$new"
    # in a mount namespace of its own: whatever kills it, its mounts end with it
    unshare --mount --propagation private mmdebstrap --mode=root --variant=apt --architectures="$(dpkg --print-architecture)" "${keyrings[@]}" \
        --aptopt="$work/apt.conf" --aptopt='Acquire::Languages "none"' --dpkgopt=force-unsafe-io \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/info/*' \
        --dpkgopt='path-exclude=/usr/share/gtk-doc/*' --dpkgopt='path-exclude=/usr/share/help/*' \
        --include=ca-certificates,locales "$suite" "$new" "$work/sources.list"
}

# Runs a command in the root, with the machine's name resolution, certificates and apt credentials over it.
inside() {
    unshare --mount --propagation private bash -euc '
        root=$1; shift
        for folder in /proc /sys /dev; do mount --rbind $folder "$root$folder"; done
        mount -t tmpfs tmpfs "$root/tmp"
        for path in /etc/resolv.conf /etc/hosts /etc/apt/auth.conf /etc/apt/auth.conf.d /etc/apt/trusted.gpg.d; do
            [ -e $path ] || continue
            if [ -d $path ]; then mkdir -p "$root$path"
            else [ -f "$root$path" ] || : >"$root$path"; fi
            mount --rbind $path "$root$path"
        done
        exec chroot "$root" env -u LD_LIBRARY_PATH -u PYTHONPATH -u PYTHONHOME -u TMPDIR HOME=/root \
            PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"' inside "$root" "$@"
}

configure_base() {
    local certificates=/usr/local/share/ca-certificates
    cp "$work/sources.list" "$root/etc/apt/sources.list"
    {
        cat "$work/apt.conf"
        printf '%s\n' 'APT::Install-Recommends "false";' 'APT::Keep-Downloaded-Packages "false";' \
            'Acquire::Languages "none";' 'Dpkg::Use-Pty "0";'
    } >"$root/etc/apt/apt.conf.d/99pentimento"
    printf '%s\n' '#!/bin/sh' 'exit 101' >"$root/usr/sbin/policy-rc.d" # no service starts in there
    chmod 755 "$root/usr/sbin/policy-rc.d"
    printf '%s\n' 'C.UTF-8 UTF-8' 'de_DE.UTF-8 UTF-8' 'en_US.UTF-8 UTF-8' 'ja_JP.UTF-8 UTF-8' >"$root/etc/locale.gen"
    if [ -d $certificates ]; then
        mkdir -p "$root$certificates"
        cp -R $certificates/. "$root$certificates"
    fi
    # the machine's whole bundle, for what is downloaded during the set-up itself
    [ ! -e /etc/ssl/certs/ca-certificates.crt ] ||
        install -D -m 644 /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
}

main() {
    local free wanted packages architecture
    wanted=$(sed -E 's/[[:space:]]*(#.*)?$//; /^$/d' "$@")
    packages=$wanted
    [ "$suite" = trixie ] || packages=$(grep -v '^clang-format-' <<<"$wanted") # the tree is formatted by one version
    work=$(mktemp -d)
    trap 'rm -rf --one-file-system "$work" "$new"' EXIT
    : >"$log"
    unshare --mount true 2>/dev/null ||
        die "no right to make mounts here (a container without CAP_SYS_ADMIN?): the private root cannot be used; use a system with GIMP 3 of its own (Debian 13 or newer)"
    sources
    apt_settings >"$work/apt.conf"
    if [ ! -e "$root/etc/debian_version" ]; then
        free=$(df -Pm "$(dirname "$root")" | awk 'NR == 2 { print $4 }')
        [ "$free" -ge $needed_mb ] ||
            die "too little disk space: $(dirname "$root") has $free MB free, the set-up needs $needed_mb MB; PENTIMENTO_ROOT names another place"
        say "making a private Debian $suite in $root (once; a few minutes)"
        if ! command -v mmdebstrap >/dev/null; then
            command -v apt-get >/dev/null || die "mmdebstrap is needed, and there is no apt-get to install it"
            step "installing mmdebstrap with apt-get" install_mmdebstrap
        fi
        step "downloading and unpacking the base system" make_base
        mv -T "$new" "$root"
    fi
    configure_base
    for architecture in $(sed -n 's/.*://p' <<<"$wanted" | sort -u); do # those of NAME:ARCHITECTURE
        inside dpkg --add-architecture "$architecture"
    done
    step "refreshing its package lists" inside apt-get update
    step "finishing what was interrupted, if anything" inside dpkg --configure -a --force-confold
    # shellcheck disable=SC2086
    step "installing $(wc -w <<<$packages) packages and what they need" \
        inside apt-get install -y -f --no-install-recommends $packages
    step "making its locales" inside locale-gen
    step "reading the machine's certificates" inside update-ca-certificates
    inside apt-get clean
    # with what other versions of the list put in: one root serves several trees
    { printf '%s\n' "$wanted"; cat "$mark" 2>/dev/null || true; } | LC_ALL=C sort -u >"$mark.part"
    mv "$mark.part" "$mark"
    say "ready: $root ($(du -sm --one-file-system "$root" | cut -f1) MB)"
}

install_mmdebstrap() {
    export DEBIAN_FRONTEND=noninteractive
    apt-get install -y --no-install-recommends mmdebstrap ||
        { apt-get update && apt-get install -y --no-install-recommends mmdebstrap; }
}

main "$@"
