#!/bin/bash
# Makes the UEFI of Xen's guests, OvmfXen, from a source tree of edk2: that of Debian's packages is
# for QEMU alone (docs/decisions/0025).
#
#   own-ovmf.sh SOURCES APT_CONF TREE OUT    (as root, inside the build root)
#
# SOURCES and APT_CONF are as those of base.sh. TREE is edk2's own source with its submodules, or
# Debian's source package, unpacked. OUT becomes a folder with OvmfXen.fd and its copyright. It is
# compiled in a root of its own, at one place.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
# As in base.sh.
export SOURCE_DATE_EPOCH=1754697600

if [[ $1 == --compile ]]; then
    jobs=$2
    cd /src/edk2
    make -C BaseTools/Source/C -j"$jobs"
    # It reads variables that are not set, and our words if there are any.
    set --
    set +u
    . ./edksetup.sh
    set -u
    build -a X64 -t GCC -b RELEASE -p OvmfPkg/OvmfXen.dsc -n "$jobs"
    exit
fi
if [[ $1 == --inside ]]; then
    bash "$0" --compile "$2" > /src/log 2>&1 || { tail -n 30 /src/log; exit 1; }
    exit
fi
tree=$3
out=$4
. "$here/apart.sh"
work=$(mktemp -d "$(dirname "$out")/.own-ovmf-XXXXXX")
compile_apart "$1" "$2" "$work" acpica-tools,g++,make,nasm,python3,uuid-dev \
    "$here/own-ovmf.sh" edk2="$tree"
mkdir "$out"
cp "$work/root/src/edk2/Build/OvmfXen/RELEASE_GCC/FV/OVMF.fd" "$out/OvmfXen.fd"
cp "$work/root/src/edk2/License.txt" "$out/copyright"
