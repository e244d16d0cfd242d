# The daemon of this guest serves a volume on $DISK to this guest: FUSE, a loop device, ext4. A program dirties its pages
# for $SECONDS_LONG seconds, more than there is memory, while most of the memory may be dirty.
STEP=memory
_kernel=$(ls -d /usr/lib/uml/modules/*/kernel)
must insmod "$_kernel/fs/fuse/fuse.ko"
must insmod "$_kernel/drivers/block/loop.ko"
export FOLDBACK_DEVICES="$DISK"
must "$FOLDBACK" vgcreate vgm "$DISK"
must "$FOLDBACK" lvcreate -an -L 480m -n root vgm
must "$FOLDBACK" vgchange -ay --backend user vgm

# PF_MEMALLOC_NOIO is what PR_SET_IO_FLUSHER sets; `flags` is the ninth field of stat, and no name here has blanks but
# the carrier's.
_pid=$(cat /run/foldback/daemon.lock)
_without=0
for _stat in /proc/"$_pid"/task/*/stat; do
	_flags=$(sed 's/.*) //' "$_stat" | cut -d' ' -f7)
	[ $((_flags & 0x80000)) -ne 0 ] || _without=$((_without + 1))
done
same flusher "0 of several" "$_without of $(ls /proc/"$_pid"/task | wc -l | sed 's/^[2-9].*\|^1.\+/several/')"
same spared -1000 "$(cat /proc/"$_pid"/oom_score_adj)"
_locked=$(sed -n 's/^VmLck:[^0-9]*\([0-9]*\).*/\1/p' /proc/"$_pid"/status)
fact locked "$_locked"
check locked test "$_locked" -gt 1024
same nothing-missing 0 "$(grep -c pressure /run/foldback/daemon.log)"

must mkfs.ext4 -q /dev/vgm/root
must mkdir /run/mnt
must mount /dev/vgm/root /run/mnt
echo 35 >/proc/sys/vm/dirty_ratio
echo 20 >/proc/sys/vm/dirty_background_ratio
must "$FOLDBACK" lvcreate -s -l 100%FREE -c 64k -n snap vgm/root
if "$XTASK" guest dirty /run/mnt/file /run/table 320 "$SECONDS_LONG" >/run/dirty 2>&1; then
	ok dirty
	cat /run/dirty
else
	fail dirty "$(cat /run/dirty) $(tail -3 /run/foldback/daemon.log)"
fi
check unmount umount /run/mnt
check fsck e2fsck -fn /dev/vgm/root
echo 3 >/proc/sys/vm/drop_caches
must mount -o ro /dev/vgm/root /run/mnt
check content "$XTASK" guest dirtied /run/mnt/file /run/table
must umount /run/mnt
check alive kill -0 "$_pid"
check deactivate "$FOLDBACK" vgchange -an vgm
same said 0 "$(dmesg | grep -ci 'i/o error\|hung task\|blocked for more\|out of memory')"
