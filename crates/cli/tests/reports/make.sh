#!/bin/sh
# Makes the PVs of this folder and asks LVM2 for every report of lvm2-2.03.16.txt. To be run as root inside rig 2
# (a real kernel with device-mapper; see the rig's prelude for LVM2's settings), with four empty disks of 256, 128, 64
# and 64 MiB as /dev/ubda to /dev/ubdd, and `lvm` as LVM2 2.03.16. The first 64 KiB of each disk are the images here.
set -e
pvcreate /dev/ubda /dev/ubdb /dev/ubdc /dev/ubdd
vgcreate vg0 /dev/ubda /dev/ubdb
vgcreate -s 128k small-vg /dev/ubdc
lvcreate -Wn -L 100M -n root vg0
lvcreate -Wn -L 32M -i 2 -I 64k -n striped vg0
lvcreate -Wn -l 100%PVS -n fill vg0 /dev/ubdb
lvextend -L +8M vg0/fill
lvcreate -s -L 20M -n snap vg0/root
lvcreate -s -L 12M -c 64k -n snap2 --addtag nightly --addtag b vg0/root
lvcreate -Wn -L 10100k -n data small-vg
lvcreate -s -l 50%ORIGIN -n before small-vg/data
lvcreate -s -l 2 -n ro -p r -c 32k small-vg/data
vgchange -an small-vg
lvconvert --merge small-vg/before
vgchange -an
vgchange --addtag prod vg0
lvcreate -an -Zn -Wn -l 3 -n plain-lv small-vg
pvcreate --metadatasize 2m /dev/ubdd

# One block per command: "$ COMMAND", its standard output, "! " and each line of standard error, "= EXIT CODE".
sed -n 's/^\$ //p' "$(dirname "$0")/lvm2-2.03.16.txt" | while read -r command; do
    code=0
    eval "$command" >out 2>err </dev/null || code=$?
    echo "\$ $command"
    cat out
    sed 's/^/! /' err
    printf '= %s\n\n' "$code"
done
