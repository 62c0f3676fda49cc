#!/usr/bin/env bash
# enter-root.sh ROOT ENVIRONMENT DIR COMMAND…   as root, in a mount namespace of its own (./dev sees to both).
# Lays the host's folders over the private root at their own paths and runs COMMAND there, in DIR, as the caller.
# Nothing of it is seen outside the namespace, and nothing is left when COMMAND ends.
set -euo pipefail
root=$1 environment=$2 dir=$3
shift 3

if [ -n "$environment" ]; then
    for name in $(compgen -e); do
        case $name in SUDO_UID | SUDO_GID) ;; *) unset "$name" ;; esac
    done
    while IFS= read -r -d '' line; do
        [[ $line =~ ^[A-Za-z_][A-Za-z_0-9]*= ]] && export "${line?}"
    done <"$environment"
    rm -f "$environment"
fi
# The root's own programs and libraries, not the host's
unset LD_LIBRARY_PATH LD_PRELOAD PYTHONPATH PYTHONHOME PERL5LIB PKG_CONFIG_PATH GI_TYPELIB_PATH XDG_DATA_DIRS
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin SHELL=/bin/bash
case ${LC_ALL:-${LANG-}} in
    '' | C | POSIX) export LANG=C.UTF-8 ;;
esac

lay() { # the host's folder or file $1, over the same path in the root
    [ -e "$1" ] || return 0
    if [ -d "$1" ]; then
        [ -d "$root$1" ] || mkdir -p "$root$1"
    elif [ ! -e "$root$1" ] || [ -L "$root$1" ]; then
        mkdir -p "$(dirname "$root$1")"
        rm -f "$root$1"
        : >"$root$1"
    fi
    mount --rbind "$1" "$root$1"
}

# Everything at the top that is not the operating system itself: homes, work trees, mounted disks …
for folder in /* /var/tmp /run/user; do
    [ -d "$folder" ] && [ ! -L "$folder" ] || continue
    case $folder in
        /bin | /boot | /etc | /lib* | /lost+found | /run | /sbin | /usr | /var) ;;
        *) lay "$folder" ;;
    esac
done
# A tree, home or folder below one of the system's own, such as /var/lib/ci
for folder in "$PENTIMENTO_TREE" "$dir" "${HOME-}"; do
    [ -d "$root$folder" ] || lay "$folder"
done
for file in /etc/resolv.conf /etc/hosts /etc/passwd /etc/group /etc/machine-id /etc/localtime \
    /etc/ssl/certs/ca-certificates.crt; do
    lay "$file"
done

as_caller=()
if [ -n "${SUDO_UID-}" ] && [ -n "$environment" ]; then
    as_caller=(setpriv --reuid "$SUDO_UID" --regid "$SUDO_GID" --init-groups)
    unset SUDO_UID SUDO_GID
fi
# shellcheck disable=SC2016
exec chroot "$root" "${as_caller[@]}" /bin/bash -c 'cd -- "$0" && exec "$@"' "$dir" "$@"
