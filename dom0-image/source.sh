#!/bin/bash
# Fetches a source package of Debian's archive, in the newest version that is there, and unpacks it.
#
#   source.sh SOURCES APT_CONF PACKAGE OUT    (as root, inside the build root)
#
# SOURCES and APT_CONF are as those of base.sh. OUT becomes a folder with `tree`, Debian's patches
# applied, and `version`. apt checks the archive's signature on its index, and by that what it fetches.
# Fails when the archive has not all parts of that version: an older one is never taken instead.
set -euo pipefail
package=$3
out=$4
work=$(mktemp -d "$(dirname "$out")/.source-XXXXXX")
trap "rm -rf '$work'" EXIT
mkdir -p "$work"/{lists,cache/archives}/partial "$work/parts"
sed 's/^deb /deb-src /' "$1" > "$work/sources.list"
cat "$2" - > "$work/apt.conf" << END
Dir::Etc::SourceList "$work/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::State::Lists "$work/lists";
Dir::Cache "$work/cache";
Debug::NoLocking "true";
APT::Sandbox::User "root";
END
export APT_CONFIG=$work/apt.conf
# Else an index that could not be had is a warning, and the version of another suite the newest.
apt-get -qq update --error-on=any
cd "$work/parts"
apt-get -qq source --print-uris "$package" | tr -d "'" > ../uris
# The description file is on some days the only part that a mirror lacks, and the index, which is
# what was signed, has all that it says.
description=$(awk '$2 ~ /\.dsc$/ { sub("SHA256:", "", $4); print $4 }' ../uris)
[[ $description ]]
while read -r uri name _ digest; do
    if [[ $name != *.dsc ]]; then
        /usr/lib/apt/apt-helper -qq download-file "$uri" "$name" "$digest"
    fi
done < ../uris
apt-cache showsrc --only-source "$package" |
    awk -v RS= -v ORS='\n\n' -v digest="$description" 'index($0, digest) { print; exit }' |
    sed -e 's/^Package: /Source: /' -e '/^ [0-9a-f]* [0-9]* [^ ]*\.dsc$/d' > described.dsc
mkdir ../made
# --no-check is about the signature that the description file would have; sums are checked.
dpkg-source --no-check --extract described.dsc ../made/tree > ../log || { cat ../log; exit 1; }
sed -n 's/^Version: //p' described.dsc > ../made/version
mv ../made "$out"
