#!/bin/bash
# Makes the guest image: a bootable qcow2 disk with a small Debian 13 in it.
#
#   build.sh SOURCES APT_CONF OUT.qcow2      (as root, inside the build root)
#
# SOURCES holds apt's one-line entries, APT_CONF the machine's own proxy and date settings.
# No loop device and no mount: the file system is written by mke2fs from a folder, and GRUB is put
# into the sectors in front of it by hand.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
disk_mib=2048
password=basalt

say() { printf 'guest image: %s\n' "$*"; }

# Units that a guest on a simulated disk has no use for; each costs seconds without hardware help.
masked=(apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer
    e2scrub_reap.service fstrim.timer systemd-hwdb-update.service ldconfig.service
    systemd-journal-catalog-update.service systemd-update-done.service systemd-firstboot.service
    systemd-pcrphase.service systemd-pcrphase-sysinit.service systemd-machine-id-commit.service
    systemd-binfmt.service systemd-update-utmp.service systemd-update-utmp-runlevel.service
    systemd-networkd-wait-online.service modprobe@drm.service dev-hugepages.mount
    sys-kernel-debug.mount sys-kernel-tracing.mount systemd-network-generator.service
    systemd-networkd-persistent-storage.service systemd-sysext.socket systemd-creds.socket
    systemd-pcrextend.socket systemd-pcrlock.socket systemd-pcrmachine.service
    modprobe@efi_pstore.service modprobe@configfs.service modprobe@fuse.service
    systemd-pstore.service systemd-journal-flush.service)

install_packages() {
    local packages
    packages=$(grep -v '^#' "$here/packages" | paste -sd,)
    say "downloading and unpacking Debian 13 ($(tr ',' '\n' <<<"$packages" | wc -l) packages asked for)"
    mmdebstrap --mode=root --variant=minbase --quiet \
        --aptopt='APT::Install-Recommends "false"' \
        --aptopt="$apt_conf" \
        --dpkgopt="$here/overlay/etc/dpkg/dpkg.cfg.d/10-small" \
        --include="$packages" \
        --essential-hook="cp -rT '$here/overlay/etc/initramfs-tools' \"\$1/etc/initramfs-tools\"" \
        --customize-hook="'$here/build.sh' --configure \"\$1\"" \
        trixie "$tree" "$sources" 2>&1 | while read -r line; do say "${line#guest image: }"; done
}

# Runs as mmdebstrap's hook, while /proc and /sys are there.
configure() {
    local tree=$1
    say "configuring"
    cp -rT --no-preserve=ownership "$here/overlay" "$tree"
    printf 'root:%s\n' "$(openssl passwd -6 -salt basaltguest "$password")" |
        chroot "$tree" /usr/sbin/chpasswd -e
    chroot "$tree" systemctl --quiet enable systemd-networkd.service systemd-resolved.service \
        serial-getty@ttyS0.service qemu-guest-agent.service
    chroot "$tree" systemctl --quiet mask "${masked[@]}"
    # Generators for what this guest never has: each is a process at every boot.
    mkdir -p "$tree/etc/systemd/system-generators"
    local generator
    for generator in ssh cryptsetup gpt-auto hibernate-resume tpm2 veritysetup; do
        ln -sf /dev/null "$tree/etc/systemd/system-generators/systemd-$generator-generator"
    done
    ln -sf ../run/systemd/resolve/stub-resolv.conf "$tree/etc/resolv.conf"
    # Empty, not absent: each clone gets an id of its own at its first boot.
    : > "$tree/etc/machine-id"
    touch "$tree/etc/.updated" "$tree/var/.updated"
    rm -rf "$tree"/etc/apt/apt.conf.d/99mmdebstrap "$tree"/var/cache/apt/*.bin "$tree"/var/lib/apt/lists/* "$tree"/var/log/*.log \
        "$tree"/var/log/apt
}

make_disk() {
    say "writing the disk"
    local disk=$work/disk.raw first_sector=2048
    truncate -s "${disk_mib}M" "$disk"
    printf 'label: dos\nlabel-id: 0x0ba5a170\n2048,,L,*\n' | sfdisk --quiet "$disk"
    mke2fs -q -t ext4 -d "$tree" -L basalt-root -U 0ba5a170-0000-4000-8000-000000000001 \
        -O ^metadata_csum_seed,^orphan_file -m 1 -E "offset=$((first_sector * 512)),nodiscard" \
        "$disk" "$((disk_mib - 1))M"

    cat > "$work/embedded.cfg" <<'CFG'
serial --unit=0 --speed=115200
terminal_output --append serial
set root=(hd0,msdos1)
set prefix=(hd0,msdos1)/boot/grub
configfile /boot/grub/grub.cfg
CFG
    grub-mkimage -O i386-pc -c "$work/embedded.cfg" -p '(hd0,msdos1)/boot/grub' \
        -o "$work/core.img" biosdisk part_msdos ext2 linux normal configfile serial terminal echo \
        test ls halt reboot
    local core_bytes
    core_bytes=$(stat -c %s "$work/core.img")
    ((core_bytes <= (first_sector - 1) * 512)) || { say "GRUB does not fit"; exit 1; }
    # The boot sector loads the sector behind itself; grub-mkimage prepared the rest for that place.
    dd if=/usr/lib/grub/i386-pc/boot.img of="$disk" bs=440 count=1 conv=notrunc status=none
    dd if="$work/core.img" of="$disk" bs=512 seek=1 conv=notrunc status=none
    say "compressing"
    qemu-img convert -f raw -O qcow2 -c -o compression_type=zstd "$disk" "$work/disk.qcow2"
    mv "$work/disk.qcow2" "$out"
    say "done: $(du -h "$out" | cut -f1)"
}

if [[ $1 == --configure ]]; then
    configure "$2"
    exit
fi
sources=$1
apt_conf=$2
out=$3
work=$(mktemp -d "$(dirname "$out")/.guest-XXXXXX")
cleanup() { rm -rf --one-file-system "$work"; }
trap cleanup EXIT
tree=$work/tree
install_packages
make_disk
