#!/bin/bash
# Makes the bootable medium: the control domain's root as a squashfs, Xen, kernel, GRUB.
#
#   make.sh BASE DEBS OUT LEVEL [XEN [OVMF]]
#           (as root, inside the build root, in a mount namespace of its own)
#
# BASE is what dom0-image/base.sh made, DEBS a folder of our packages, LEVEL zstd's; XEN is what
# dom0-image/own-xen.sh made, and takes the place of the archive's hypervisor, OVMF what
# dom0-image/own-ovmf.sh made, for guests; an empty word stands for none. Beside OUT lie afterwards
# OUT.packages (names, versions, the SHA-256 of each package's file), OUT.setuid and
# OUT.sha256. Times come from SOURCE_DATE_EPOCH, and the same input makes the same bytes.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
base=$1
debs=$2
out=$3
level=$4
xen=${5:-}
ovmf=${6:-}
work=$(mktemp -d "$(dirname "$out")/.iso-XXXXXX")
# --one-file-system: were something still mounted below, it would not go with it.
cleanup() { rm -rf --one-file-system "$work"; }
trap cleanup EXIT
root=$work/root
medium=$work/medium
# Of the file system that UEFI starts the medium from.
efi_mib=6

say() { printf '%s\n' "$*"; }

install_ours() {
    cp -a --reflink=auto "$base" "$root"
    mkdir "$root/debs"
    cp "$debs"/*.deb "$root/debs/"
    # Not --unpack: a package that lacks a dependency must fail here and not on a host.
    chroot "$root" sh -c 'dpkg --install /debs/*.deb'
    rm -r "$root/debs"
    if [[ $ovmf ]]; then
        mkdir -p "$root/usr/share/doc/own-ovmf"
        cp "$ovmf/OvmfXen.fd" "$root/usr/share/basalt/"
        cp "$ovmf/copyright" "$root/usr/share/doc/own-ovmf/"
    fi
    # Name servers are the host's own; these are the building machine's.
    : > "$root/etc/resolv.conf"
    rm -f "$root"/var/log/*.log "$root"/var/cache/debconf/*-old "$root"/var/lib/dpkg/*-old \
        "$root"/var/cache/ldconfig/aux-cache
}

# A host has one user who logs in, root: nobody needs a program that makes more of him.
take_setuid_away() {
    local path
    while read -r path; do
        chroot "$root" dpkg-statoverride --add --update --force-statoverride-add \
            $(stat --format '%U %G' "$root/$path") \
            "$(printf '%o' $((8#$(stat --format %a "$root/$path") & 8#777)))" "/$path"
    done < <(cd "$root" && find . -xdev -type f -perm /6000 -printf '%P\n' | LC_ALL=C sort)
}

list_contents() {
    local deb
    {
        cat "$root/usr/share/basalt/debian-packages"
        for deb in "$debs"/*.deb; do
            echo "$(dpkg-deb --show --showformat '${Package} ${Version}' "$deb")" \
                "$(sha256sum "$deb" | cut -d ' ' -f 1)"
        done
    } | LC_ALL=C sort > "$out.packages"
    # What is installed is what is listed; on top of it comes what is in nobody's archive.
    diff <(chroot "$root" dpkg-query --show --showformat '${Package} ${Version}\n' |
        LC_ALL=C sort) <(cut -d ' ' -f 1,2 "$out.packages")
    if [[ $xen ]]; then
        echo "own-xen $(cat "$xen/version") $(sha256sum "$xen/xen.gz" | cut -d ' ' -f 1)" \
            >> "$out.packages"
    fi
    if [[ $ovmf ]]; then
        echo "own-ovmf $(cat "$ovmf/version") $(sha256sum "$ovmf/OvmfXen.fd" | cut -d ' ' -f 1)" \
            >> "$out.packages"
    fi
    (cd "$root" && find . -xdev -type f -perm /6000 -printf '%m %u %P\n' | LC_ALL=C sort -k 3) \
        > "$out.setuid"
}

write_tree() {
    mkdir -p "$medium/boot/grub" "$medium/live"
    cp "${xen:-$root/boot}"/xen*.gz "$medium/boot/xen.gz"
    cp "$root"/boot/vmlinuz-* "$medium/boot/vmlinuz"
    cp "$root"/boot/initrd.img-* "$medium/boot/initrd.img"
    cp "$here/grub.cfg" "$root/usr/lib/basalt/installer/secure-boot.cfg" "$medium/boot/grub/"
    # What boots lies on the medium itself. The debug files of Xen are of no use here.
    mksquashfs "$root" "$medium/live/root.squashfs" -quiet -no-progress -comp zstd \
        -Xcompression-level "$level" -b 1M -wildcards \
        -e 'boot/*' 'tmp/*' 'var/tmp/*' 'usr/lib/debug/*'
    (cd "$medium" && find . -type f -not -name sha256sums -print0 | LC_ALL=C sort -z |
        xargs -0 sha256sum > sha256sums)
    cp "$out.packages" "$medium/packages"
}

# GRUB for both firmwares, of the root's packages. What grub-mkrescue does, but that names the
# medium after the clock; here it is named after SOURCE_DATE_EPOCH and the packages, by which its
# loaders find it. For UEFI Debian's signed GRUB comes behind Debian's shim, byte for byte; what it
# has not built in, it loads from modules of its own version where Secure Boot is off.
write_loaders() {
    local grub=$root/usr/lib/grub shim=$root/usr/lib/shim efi=$work/efi target name
    name=$(sed -E 's/(....)(..)(..)(..)(..)(..)(..)/\1-\2-\3-\4-\5-\6-\7/' <<< "$uuid")
    cat > "$work/load.cfg" <<END
search --fs-uuid --set=root $name
set prefix=(\$root)/boot/grub
END
    for target in i386-pc x86_64-efi; do
        mkdir -p "$medium/boot/grub/$target"
        cp "$grub/$target"/*.{mod,lst} "$medium/boot/grub/$target/"
    done
    grub-mkimage --format=i386-pc-eltorito --directory="$grub/i386-pc" --prefix=/boot/grub \
        --config="$work/load.cfg" --output="$medium/boot/grub/i386-pc/eltorito.img" \
        biosdisk iso9660 part_msdos part_gpt search
    mkdir -p "$efi/EFI/BOOT" "$efi/boot/grub"
    cp "$shim/shimx64.efi.signed" "$efi/EFI/BOOT/BOOTX64.EFI"
    cp "$shim/mmx64.efi.signed" "$efi/EFI/BOOT/mmx64.efi"
    cp "$grub/x86_64-efi-signed/gcdx64.efi.signed" "$efi/EFI/BOOT/grubx64.efi"
    # It looks for its menu where it was started from, which on a stick is this file system.
    { cat "$work/load.cfg"; echo 'source $prefix/grub.cfg'; } > "$efi/boot/grub/grub.cfg"
    find "$efi" -exec touch --date="@$SOURCE_DATE_EPOCH" {} +
    truncate --size "${efi_mib}M" "$medium/efi.img"
    mformat -i "$medium/efi.img" -h 64 -s 32 -T $((efi_mib * 2048)) -N 0 ::
    mcopy -s -m -i "$medium/efi.img" "$efi/EFI" "$efi/boot" ::
}

# Hybrid: a CD for both firmwares, and partitions for when the same bytes lie on a stick.
write_image() {
    find "$medium" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
    xorriso -as mkisofs -quiet -r -volid BASALT --modification-date="$uuid" \
        -b boot/grub/i386-pc/eltorito.img -no-emul-boot -boot-load-size 4 -boot-info-table \
        --grub2-boot-info --grub2-mbr "$root/usr/lib/grub/i386-pc/boot_hybrid.img" \
        --efi-boot efi.img -efi-boot-part --efi-boot-image --protective-msdos-label \
        -o "$work/medium.iso" "$medium" 2> "$work/xorriso.log" ||
        { cat "$work/xorriso.log" >&2; exit 1; }
}

say "installing our packages"
install_ours
take_setuid_away
list_contents
# A time in hundredths of a second, which ISO 9660 takes for an identity: two media of one commit
# with other packages are two.
uuid=$(date --utc --date="@$SOURCE_DATE_EPOCH" +%Y%m%d%H%M)
uuid+=$(printf '%04d' $((16#$(sha256sum < "$out.packages" | cut -c 1-8) % 6000)))
say "compressing"
write_tree
write_loaders
write_image
mv "$work/medium.iso" "$out"
(cd "$(dirname "$out")" && sha256sum "$(basename "$out")" > "$out.sha256")
say "$(du --apparent-size -h "$out" | cut -f1) $(wc -l < "$out.packages") packages"
