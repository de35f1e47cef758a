# Sourced by what compiles something for the medium: in a root of its own, at one place, so that the
# same tree and compiler make the same bytes.
#
#   compile_apart SOURCES APT_CONF WORK PACKAGES SCRIPT NAME=PATH...
#
# SOURCES and APT_CONF are as those of base.sh. WORK becomes a folder that goes when the caller ends;
# in WORK/root/src are the copies NAME of each PATH. There `SCRIPT --inside JOBS` is run.

compile_apart() {
    local sources=$1 apt_conf=$2 work=$3 packages=$4 script=$5
    shift 5
    # --one-file-system: were something still mounted below, it would not go with it.
    trap "rm -rf --one-file-system '$work'" EXIT
    local copy copies=()
    for copy in "own=$script" "$@"; do
        copies+=(--customize-hook="cp -r '${copy#*=}' \"\$1/src/${copy%%=*}\"")
    done
    mmdebstrap --mode=root --variant=minbase --quiet \
        --aptopt='APT::Install-Recommends "false"' --aptopt="$apt_conf" --include="$packages" \
        --customize-hook='mkdir "$1/src"' "${copies[@]}" \
        --customize-hook="chroot \"\$1\" bash /src/own --inside $(nproc)" \
        trixie "$work/root" "$sources"
}
