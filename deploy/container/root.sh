#!/bin/sh
# Lays out what programs need of a Debian or Ubuntu: their libraries, names, licences, and which packages
# those are from.
#
# usage: root.sh PROGRAMS OUT
set -eu
programs=$1 out=$2
mkdir -p "$out/etc" "$out/usr/local/bin" "$out/var/lib/dpkg/status.d" "$out/usr/share/doc" /state
# `/lib` and the like lead where they lead in the base.
for name in bin lib lib32 lib64 libx32 sbin; do
    if [ -L "/$name" ]; then ln -s "$(readlink "/$name")" "$out/$name"; fi
done
mkdir -m 1777 "$out/tmp"
chmod 0700 /state
printf 'root:x:0:0::/:/nologin\nseedsweep:x:65532:65532::/var/lib/seedsweep:/nologin\n' >"$out/etc/passwd"
printf 'root:x:0:\nseedsweep:x:65532:\n' >"$out/etc/group"
printf 'hosts: files dns\n' >"$out/etc/nsswitch.conf"

# Every library by the path it is loaded by. The driver's comes with the machine.
libraries=$(for program in "$programs"/*; do ldd "$program"; done |
    sed -n 's/.*=> \(\/[^ ]*\) .*/\1/p; s/^[[:space:]]*\(\/[^ ]*\) (.*/\1/p' |
    grep -v '/libcuda\.so' | sort -u)
for library in $libraries; do
    real=$(readlink -f "$library")
    folder=$(readlink -f "$(dirname "$library")")
    mkdir -p "$out$folder"
    cp "$real" "$out$folder/$(basename "$library")"
    # Known under either path, from before and after /usr was merged.
    dpkg-query --search "$real" "$library" "${real#/usr}" 2>/dev/null || true
done | sed 's/: .*//' | sort -u >/packages
for package in $(cat /packages); do
    name=${package%%:*}
    dpkg-query --status "$package" >"$out/var/lib/dpkg/status.d/$name"
    mkdir -p "$out/usr/share/doc/$name"
    cp -L "/usr/share/doc/$name/copyright" "$out/usr/share/doc/$name/" || true
done

# What is copied from here is told apart by these too.
find "$out" /state -exec touch --no-dereference --date=@0 {} +
