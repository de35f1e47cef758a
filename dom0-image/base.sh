#!/bin/bash
# Makes the part of the control domain's root that comes from Debian, as a folder.
#
#   base.sh SOURCES APT_CONF OUT [firmware]      (as root, inside the build root)
#
# SOURCES holds apt's one-line entries, APT_CONF the machine's own proxy and date settings. With
# `firmware`, what hardware loads is there too; SOURCES then names the archives that have it.
# The same package files make the same tree; OUT/usr/share/basalt/debian-packages lists them, with
# their SHA-256.
set -euo pipefail
# The day on which Debian 13 came out. The tree is kept for many commits, so none can lend its time.
export SOURCE_DATE_EPOCH=1754697600
here=$(dirname "$(readlink -f "$0")")

# Units without a use here: no apt by itself on a host, and no second hypervisor's disk backend
# (each guest has its own qemu-storage-daemon; dom0's would also bring a network device of its own).
masked=(apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer
    e2scrub_reap.service fstrim.timer systemd-pcrphase.service systemd-pcrphase-sysinit.service
    systemd-pcrmachine.service systemd-firstboot.service systemd-networkd.service
    systemd-networkd-wait-online.service systemd-timesyncd.service
    xen.service xendomains.service lvm2-monitor.service)
generators=(ssh cryptsetup gpt-auto hibernate-resume tpm2 veritysetup integritysetup)

install_packages() {
    local packages
    packages=$(grep --no-filename -v '^#' "${lists[@]}" | grep . | paste -sd,)
    mmdebstrap --mode=root --variant=minbase --quiet \
        --aptopt='APT::Install-Recommends "false"' --aptopt="$apt_conf" \
        --dpkgopt="$here/overlay/etc/dpkg/dpkg.cfg.d/10-small" \
        --include="$packages" \
        --essential-hook="cp -rT '$here/overlay/etc/initramfs-tools' \"\$1/etc/initramfs-tools\"" \
        --essential-hook="cp -rT '$here/overlay/etc/default' \"\$1/etc/default\"" \
        --essential-hook="cp -rT '$here/overlay/etc/mdadm' \"\$1/etc/mdadm\"" \
        --customize-hook="'$here/base.sh' --configure \"\$1\"" \
        trixie "$out" "$sources"
}

# Which files of the archive the tree is made of, as NAME VERSION SHA-256.
list_packages() {
    local tree=$1
    mkdir -p "$tree/usr/share/basalt"
    chroot "$tree" dpkg-query --show --showformat '${Package}=${Version}\n' |
        xargs chroot "$tree" apt-cache show |
        awk '/^Package: / { name = $2 } /^Version: / { version = $2 }
            /^SHA256: / { print name, version, $2 }' |
        LC_ALL=C sort -u > "$tree/usr/share/basalt/debian-packages"
}

# Runs as mmdebstrap's hook, while /proc and /sys are there.
configure() {
    local tree=$1 name
    list_packages "$tree"
    cp -rT --no-preserve=ownership "$here/overlay" "$tree"
    chroot "$tree" systemctl --quiet enable nftables.service chrony.service ssh.service
    chroot "$tree" systemctl --quiet mask "${masked[@]}"
    mkdir -p "$tree/etc/systemd/system-generators"
    for name in "${generators[@]}"; do
        ln -sf /dev/null "$tree/etc/systemd/system-generators/systemd-$name-generator"
    done
    # What must not be the same on two hosts is made at the first boot.
    rm -f "$tree"/etc/ssh/ssh_host_*
    : > "$tree/etc/machine-id"
    rm -f "$tree/var/lib/dbus/machine-id" "$tree/var/lib/systemd/random-seed" \
        "$tree"/etc/openvswitch/conf.db* "$tree"/etc/openvswitch/system-id.conf
    touch "$tree/etc/.updated" "$tree/var/.updated"
    # Mirrors are the host's own affair; these are the building machine's.
    rm -f "$tree"/etc/apt/sources.list "$tree"/etc/apt/sources.list.d/*
    rm -rf "$tree"/etc/apt/apt.conf.d/99mmdebstrap "$tree"/var/cache/apt/*.bin \
        "$tree"/var/lib/apt/lists/* "$tree"/var/log/*.log "$tree"/var/log/apt \
        "$tree"/var/cache/ldconfig/aux-cache
}

if [[ $1 == --configure ]]; then
    configure "$2"
    exit
fi
sources=$1
apt_conf=$2
out=$3
lists=("$here/packages")
if [[ ${4:-} == firmware ]]; then lists+=("$here/firmware"); fi
began=$(date +%s)
install_packages
# Files of packages have their own times; those that were made meanwhile would have the clock's.
find "$out" -xdev -newermt "@$((began - 1))" \
    -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
