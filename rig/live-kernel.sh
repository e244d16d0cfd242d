# The kernel's own NBD client mounts ext4 from our export of a VG on $DISK, while a snapshot is taken and merged. Then LVM2
# and the kernel activate the same VG, and see what we served.
STEP=live
_kernel=$(ls -d /usr/lib/uml/modules/*/kernel)
must insmod "$_kernel/fs/fuse/fuse.ko"
must insmod "$_kernel/drivers/block/loop.ko"
must insmod "$_kernel/drivers/block/nbd.ko"
export FOLDBACK_DEVICES="$DISK"

files() { (cd /run/mnt && find . -type f | sort | xargs sha256sum | sha256sum | cut -c1-64); }
attach() {
	must nbd-client -unix /run/foldback/nbd/vgl-root.sock /dev/nbd0 -N root -b 512
	must mount /dev/nbd0 /run/mnt
}
detach() {
	must umount /run/mnt
	must nbd-client -d /dev/nbd0
}

must "$FOLDBACK" vgcreate vgl "$DISK"
must "$FOLDBACK" lvcreate -an -L 128m -n root vgl
must "$FOLDBACK" lvcreate -an -L 32m -n other vgl
must "$FOLDBACK" vgchange -ay --export nbd vgl
must mkdir /run/mnt
must mkfs.ext4 -q /dev/vgl/root
must "$XTASK" guest pattern /dev/vgl/other 3
attach
for _i in 1 2 3 4 5 6 7 8; do
	must dd if=/dev/urandom of=/run/mnt/file$_i bs=1M count=4 conv=fsync status=none
done
sync
_wanted=$(files)
check snapshot "$FOLDBACK" lvcreate -s -c 64k -L 160m -n before vgl/root
must rm /run/mnt/file3 /run/mnt/file5
must dd if=/dev/urandom of=/run/mnt/upgraded bs=1M count=24 conv=fsync status=none
_upgraded=$(files)
check second-snapshot "$FOLDBACK" lvcreate -s -c 4k -L 160m -n kept vgl/root
"$FOLDBACK" lvconvert --merge vgl/before >/run/said 2>&1
check deferred grep -q "Delaying merge since origin is open" /run/said
detach
# Files are at the snapshot's state from the first moment, and the mount is kept through the merge's end.
check refresh "$FOLDBACK" lvchange --refresh vgl/root
attach
same merged-view "$_wanted" "$(files)"
must dd if=/dev/urandom of=/run/mnt/during bs=1M count=8 conv=fsync status=none
_tries=0
while "$FOLDBACK" lvs --noheadings -a -o lv_name vgl | grep -q before; do
	_tries=$((_tries + 1))
	if [ "$_tries" -gt 200 ]; then
		fail ended "the merge does not end: $(tail -3 /run/foldback/daemon.log | tr '\n' ' ')"
		break
	fi
	sleep 0.2
done
must rm /run/mnt/during
same mount-kept "$_wanted" "$(files)"
sync
detach
check fsck e2fsck -fn /dev/vgl/root
must mount /dev/vgl/kept /run/mnt # its journal is as a power cut would leave it
same snapshot-kept "$_upgraded" "$(files)"
must umount /run/mnt
for _lv in root other kept; do
	eval "_$_lv=$(digest /run/foldback/vgl/$_lv)"
done
check deactivate "$FOLDBACK" vgchange -an vgl

silent vgck vgck vgl
silent pvck pvck "$DISK"
check lvm2 vgchange -ay vgl
same target snapshot-origin "$(dmsetup status vgl-root | cut -d' ' -f3)"
same root "$_root" "$(digest /dev/vgl/root)"
same other "$_other" "$(digest /dev/vgl/other)"
same kept "$_kept" "$(digest /dev/vgl/kept)"
check fsck-kernel e2fsck -fn /dev/vgl/root
check fsck-snapshot e2fsck -fn /dev/vgl/kept
check lvm2-off vgchange -an vgl
