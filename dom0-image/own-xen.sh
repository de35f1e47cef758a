#!/bin/bash
# Makes Xen's hypervisor from a source tree: configured as the archive's, but with shadow paging,
# without which a PV guest cannot move while it runs (docs/decisions/0020).
#
#   own-xen.sh SOURCES APT_CONF TREE CONFIG OUT    (as root, inside the build root)
#
# SOURCES and APT_CONF are as those of base.sh. TREE is Xen's own source or Debian's source package,
# unpacked; CONFIG the configuration of the archive's hypervisor. OUT becomes a folder with xen.gz and
# its config. It is compiled in a root of its own; the same tree and compiler make the same bytes.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
# As in base.sh.
export SOURCE_DATE_EPOCH=1754697600
said=(XEN_BUILD_DATE="$(LC_ALL=C date --utc --date="@$SOURCE_DATE_EPOCH")"
    XEN_BUILD_TIME="$(LC_ALL=C date --utc --date="@$SOURCE_DATE_EPOCH" +%T)"
    XEN_BUILD_HOST=build XEN_DOMAIN=basalt XEN_WHOAMI=basalt)

if [[ $1 == --inside ]]; then
    cd /src/xen
    sed 's/^# CONFIG_SHADOW_PAGING is not set$/CONFIG_SHADOW_PAGING=y/' ../config > xen/.config
    make -s -C xen "${said[@]}" olddefconfig
    # What the tree does not know, it leaves out without a word.
    grep -qx CONFIG_SHADOW_PAGING=y xen/.config
    make -s -C xen -j"$2" "${said[@]}" > ../log 2>&1 || { tail -n 30 ../log; exit 1; }
    exit
fi
tree=$3
config=$4
out=$5
. "$here/apart.sh"
work=$(mktemp -d "$(dirname "$out")/.own-xen-XXXXXX")
compile_apart "$1" "$2" "$work" bison,flex,gcc,libc6-dev,make,python3-minimal \
    "$here/own-xen.sh" xen="$tree" config="$config"
mkdir "$out"
cp "$work/root/src/xen/xen/xen.gz" "$out/xen.gz"
cp "$work/root/src/xen/xen/.config" "$out/config"
