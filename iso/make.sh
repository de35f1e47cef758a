#!/bin/bash
# Makes the bootable medium: the control domain's root as a squashfs, Xen, kernel, GRUB.
#
#   make.sh BASE DEBS OUT LEVEL      (as root, inside the build root, in a mount namespace of its own)
#
# BASE is what dom0-image/base.sh made, DEBS a folder of our packages, LEVEL zstd's. Beside OUT lie
# afterwards OUT.packages (names, versions), OUT.setuid and OUT.sha256. Times come from
# SOURCE_DATE_EPOCH.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
base=$1
debs=$2
out=$3
level=$4
work=$(mktemp -d "$(dirname "$out")/.iso-XXXXXX")
# --one-file-system: were something still mounted below, it would not go with it.
cleanup() { rm -rf --one-file-system "$work"; }
trap cleanup EXIT
root=$work/root
medium=$work/medium

say() { printf '%s\n' "$*"; }

install_ours() {
    cp -a --reflink=auto "$base" "$root"
    mkdir "$root/debs"
    cp "$debs"/*.deb "$root/debs/"
    # Not --unpack: a package that lacks a dependency must fail here and not on a host.
    chroot "$root" sh -c 'dpkg --install /debs/*.deb'
    rm -r "$root/debs"
    # Name servers are the host's own; these are the building machine's.
    : > "$root/etc/resolv.conf"
    rm -f "$root"/var/log/dpkg.log "$root"/var/cache/debconf/*-old "$root"/var/lib/dpkg/*-old
}

# A host has one user who logs in, root: nobody needs a program that makes more of him.
take_setuid_away() {
    local path
    (cd "$root" && find . -xdev -type f -perm /6000 -printf '%P\n') | while read -r path; do
        chroot "$root" dpkg-statoverride --add --update --force-statoverride-add \
            $(stat --format '%U %G' "$root/$path") \
            "$(printf '%o' $((8#$(stat --format %a "$root/$path") & 8#777)))" "/$path"
    done
}

list_contents() {
    chroot "$root" dpkg-query --show --showformat '${Package} ${Version}\n' | LC_ALL=C sort \
        > "$out.packages"
    (cd "$root" && find . -xdev -type f -perm /6000 -printf '%m %u %P\n' | LC_ALL=C sort -k 3) \
        > "$out.setuid"
}

write_medium() {
    mkdir -p "$medium/boot/grub" "$medium/live"
    cp "$root"/boot/xen-*-amd64.gz "$medium/boot/xen.gz"
    cp "$root"/boot/vmlinuz-* "$medium/boot/vmlinuz"
    cp "$root"/boot/initrd.img-* "$medium/boot/initrd.img"
    cp "$here/grub.cfg" "$medium/boot/grub/grub.cfg"
    # What boots lies on the medium itself. The debug files of Xen are of no use here.
    mksquashfs "$root" "$medium/live/root.squashfs" -quiet -no-progress -comp zstd \
        -Xcompression-level "$level" -b 1M -wildcards -e 'boot/*' 'tmp/*' 'var/tmp/*' 'usr/lib/debug/*'
    (cd "$medium" && find . -type f -not -name sha256sums -print0 | LC_ALL=C sort -z |
        xargs -0 sha256sum > sha256sums)
    cp "$out.packages" "$medium/packages"
    find "$medium" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
    grub-mkrescue --output="$work/medium.iso" "$medium" -- -volid BASALT \
        -volume_date all_file_dates "=$SOURCE_DATE_EPOCH" 2> "$work/grub.log" ||
        { cat "$work/grub.log" >&2; exit 1; }
}

say "installing our packages"
install_ours
take_setuid_away
list_contents
say "compressing"
write_medium
mv "$work/medium.iso" "$out"
(cd "$(dirname "$out")" && sha256sum "$(basename "$out")" > "$out.sha256")
say "$(du --apparent-size -h "$out" | cut -f1) $(wc -l < "$out.packages") packages"
