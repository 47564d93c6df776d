#!/bin/sh
# Lays out below a folder what a program needs to run where nothing else is: the program, the C libraries that
# it is linked with, public certificate authorities, and a name for nobody.
#   sh control/image.sh <program> <folder>
set -eu
program=$1 root=$2
install -D -m 0755 "$program" "$root/usr/local/bin/$(basename "$program")"
for library in $(ldd "$program" | grep -o '/[^ ]*\.so[^ ]*'); do
    install -D -m 0755 "$library" "$root$library"
done
install -D -m 0644 /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
echo 'nonroot:x:65532:65532::/:/nonexistent' > "$root/etc/passwd"
