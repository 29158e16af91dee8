#!/usr/bin/env bash
# ./kit deps --prefix DIR: every library of cmake/Dependencies.cmake in one folder, to carry to a machine without network.
# Unpacks Debian packages, installs nothing. DIR/MANIFEST lists them with versions.
set -euo pipefail

usage="usage: ./kit deps --prefix DIR"
if [ "${1-}" != --prefix ] || [ -z "${2-}" ] || [ $# -ne 2 ]; then
  echo "$usage" >&2
  exit 2
fi
for tool in apt-get apt-cache dpkg-deb; do
  command -v "$tool" >/dev/null || { echo "kit deps: no $tool: it needs a Debian or Ubuntu machine with network" >&2; exit 3; }
done
if [ -e "$2" ] && [ -n "$(ls -A "$2")" ]; then
  echo "kit deps: $2 is not empty; name a new folder" >&2
  exit 2
fi
mkdir -p "$2"
prefix=$(realpath "$2")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# As in ./kit and Dependencies.cmake.
wanted="libgtest-dev libbenchmark-dev libcli11-dev libfmt-dev nlohmann-json3-dev libtomlplusplus-dev libpugixml-dev
  libtbb-dev libhwy-dev libpcre2-dev libboost-context-dev libdw-dev libcereal-dev libarchive-dev"
# What a C++ compiler brings, and what only glibc's own packages ask for.
brought='^(libc6|libc-dev|gcc-|libgcc|libstdc|linux-libc|libcrypt|libnsl|libtirpc|rpcsvc|libgssapi|libk5|libkrb5|libkeyutils'
brought+='|libcom-err|libssl|lib[alt]san|libubsan|libitm|libquadmath|libgomp|libatomic|googletest|libudev)'
# shellcheck disable=SC2086
packages=$(apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces \
  --no-enhances $wanted | grep -E '^[a-z0-9]' | sed 's/:.*//' | sort -u | grep -vE "$brought")

cd "$work"
# shellcheck disable=SC2086
apt-get download -q $packages >download.log 2>&1 || { tail -n 5 download.log >&2; echo "kit deps: apt-get download failed (above)" >&2; exit 3; }
for package in *.deb; do
  dpkg-deb -x "$package" unpacked
  dpkg-deb -f "$package" Package Version Architecture | sed 's/^[^:]*: //' | paste -sd ' ' >>MANIFEST
done
# /usr and / of the packages become the prefix; their paths relative to it stay, which is what their CMake files rely on.
cp -a unpacked/usr/. "$prefix"
[ ! -d unpacked/lib ] || cp -a unpacked/lib "$prefix"
rm -rf "$prefix/share/doc" "$prefix/share/man" "$prefix/share/lintian"
# Links to the absolute place of a library point beside themselves.
find "$prefix/lib" -type l -lname '/*' | while read -r link; do
  ln -sf "$(basename "$(readlink "$link")")" "$link"
done
# pkg-config files name /usr.
find "$prefix" -name '*.pc' -exec sed -i 's|^prefix=.*|prefix=${pcfiledir}/../../..|; s|=/usr/|=${prefix}/|' {} +
mv MANIFEST "$prefix/MANIFEST"
echo "$(wc -l <"$prefix/MANIFEST") packages in $prefix, $(du -sh "$prefix" | cut -f1)"
echo "there: ./kit with KIT_DEPS_PREFIX=$prefix, or cmake --preset default -DCMAKE_PREFIX_PATH=$prefix"
