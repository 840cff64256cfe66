#!/usr/bin/env bash
# Makes a base image on a machine that can pull none: a minimal Debian or Ubuntu with Python, of the release and from
# the mirror that this machine's apt is set up for. Needs root, debootstrap and a Docker engine; takes about 40 s.
# Usage: deploy/base-image.sh [TAG]
set -euo pipefail

tag=${1:-holdfast-base:local}
die() { echo "base-image: $*" >&2; exit 1; }

[ "$(id -u)" = 0 ] || die "debootstrap needs root"
command -v debootstrap >/dev/null || die "debootstrap is missing (apt-get install debootstrap)"

# The release itself (no -updates, no -security) of the main component, as apt knows it.
source_of_release() {
  apt-get indextargets --format '$(COMPONENT) $(RELEASE) $(REPO_URI)' 'Identifier: Packages' |
    awk '$1 == "main" && $2 ~ /^[a-z]+$/ && !found++ {print $3, $2}'
}
source=$(source_of_release)
[ -n "$source" ] || { apt-get update -qq >&2 && source=$(source_of_release); }  # a fresh machine has no lists yet
read -r mirror release <<<"$source" && [ -n "$release" ] || die "apt names no release to install from"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates,busybox "$release" "$work/root" "$mirror" \
  >"$work/log" 2>&1 || { tail -n 20 "$work/log" >&2; die "debootstrap of $release failed"; }

cd "$work/root"
python=$(chroot . python3 -c 'import sys; print(*sys.version_info[:2], sep=".")')
case $python in 3.[0-9] | 3.10) die "$release has Python $python; 3.11 or newer is needed" ;; esac
tar --create --one-file-system --exclude=./dev/* --exclude=./var/cache/* --exclude=./var/lib/apt/lists/* --exclude=./var/log/* \
    --exclude=./usr/share/doc/* --exclude=./usr/share/man/* --exclude=./usr/share/info/* --exclude=./usr/share/locale/* . |
  docker import --change "ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin LANG=C.UTF-8" \
    --change 'CMD ["python3"]' - "$tag" >&2
