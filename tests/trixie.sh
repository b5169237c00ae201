#!/usr/bin/env bash
# Runs a command of this checkout on Debian 13, where the newest stack fits: tests/trixie.sh make test
#
# Debian 13 lies in the user's cache and is made once; its environment is the checkout's .venv-trixie. What it sees
# of this machine is mounted in a mount namespace, which the kernel ends with the last process: nothing to undo.
# Exit code: the command's; 77 where this machine cannot do it, with the reason.
set -euo pipefail

readonly packages=python3,python3-dev,python3-venv,g++,make,git,curl,ca-certificates
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
data=$(dirname "$root")/shared # which some tests read
system=${XDG_CACHE_HOME:-$HOME/.cache}/cetnet/trixie

unable() {
    echo "Skipped, no Debian 13 to run on: $1" >&2
    exit 77
}

# Makes Debian 13 from the mirror that apt asks here, if it does, else from debootstrap's own; unfinished work is begun again.
make_system() {
    local mirror
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Origin: Debian' 'Label: Debian' 2>/dev/null | head -n 1) || true
    rm -rf "$system" "$system.new"
    mkdir -p "$(dirname "$system")"
    echo "Making Debian 13 in $system" >&2
    debootstrap --variant=minbase --include="$packages" trixie "$system.new" "$mirror" >"$system.log" 2>&1 ||
        unable "debootstrap failed, see $system.log"
    echo "$packages" >"$system.new/etc/cetnet-packages"
    mv "$system.new" "$system"
}

# Shows a file or folder of this machine at the same place in Debian 13.
show() {
    [[ -e $1 ]] || return 0
    if [[ -d $1 ]]; then mkdir -p "$system$1"; else mkdir -p "$system$(dirname "$1")" && touch "$system$1"; fi
    mount --bind "$1" "$system$1"
}

show_machine() {
    local folder
    mount -t proc proc "$system/proc"
    mount --rbind /dev "$system/dev"
    for folder in /*/; do # homes, data, package folders: settings of pip and uv may name any of them
        case $folder in
        /bin/ | /boot/ | /dev/ | /etc/ | /lib*/ | /lost+found/ | /proc/ | /run/ | /sbin/ | /sys/ | /tmp/ | /usr/ | /var/) ;;
        *) show "${folder%/}" ;;
        esac
    done
    for folder in /etc/hosts /etc/resolv.conf /etc/pip.conf /etc/xdg/pip /etc/uv /etc/ssl "$root" "$data"; do
        show "$(realpath --canonicalize-missing "$folder")"
    done
    [[ -L $system$data ]] || show "$data" # a link to what was just shown
    mkdir -p "$root/.venv" "$root/.venv-trixie"
    mount --bind "$root/.venv-trixie" "$system$root/.venv"
}

main() {
    if [[ ${1:-} != --in-namespace ]]; then
        [[ $EUID == 0 ]] || unable "this needs root"
        unshare --mount true 2>/dev/null || unable "this machine lets root make no mount namespace"
        exec unshare --mount --pid --fork --kill-child "${BASH_SOURCE[0]}" --in-namespace "$@"
    fi
    shift
    if [[ $(cat "$system/etc/cetnet-packages" 2>/dev/null) != "$packages" ]]; then
        command -v debootstrap >/dev/null || unable "debootstrap is not installed"
        make_system
    fi
    show_machine
    exec chroot "$system" env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        TMPDIR=/tmp bash -c 'cd "$0" && "$@"' "$root" "$@"
}

main "$@"
