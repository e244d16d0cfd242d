# Start of every guest script of rig 2; process 1 of the guest reads it.
#
# The guest's root is the host's, writable: write only below /run (a tmpfs of the guest's own), below
# $SCRATCH, and to the ubd disks. What the host reads is in words.sh, which comes before this.

export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/run LC_ALL=C TZ=UTC0
export LVM_SYSTEM_DIR="$SCRATCH/lvm" DM_DISABLE_UDEV=1
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev 2>/dev/null || true # the kernel may have done it
mount -t tmpfs tmp /run
exec </dev/null >/dev/console 2>&1
cd /run || poweroff -f
# The host ends a guest that takes too long; this ends one whose host program is gone.
(sleep $((LIMIT + 30)) && poweroff -f) &

# only DISK: from here on LVM2 sees that disk alone. Copies of one image, which have the same UUIDs, may lie beside it.
# (Its option --devices says the same, but LVM2 2.03.16 crashes on the second such command of one process.)
only() {
	LVM_SYSTEM_DIR=/run/lvm-${1##*/}
	[ -d "$LVM_SYSTEM_DIR" ] && return
	mkdir "$LVM_SYSTEM_DIR"
	sed "s,\^/dev/ubd.a-p.,^$1," "$SCRATCH/lvm/lvm.conf" >"$LVM_SYSTEM_DIR/lvm.conf"
}

STEP=boot
_modules=$(ls -d /usr/lib/uml/modules/*/kernel/drivers/md)
for _m in dm-mod dm-bufio dm-snapshot dm-delay dm-zero; do
	must insmod "$_modules/$_m.ko"
done
