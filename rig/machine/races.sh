# Commands of Foldback and of LVM2 at the same time, on two processors, beside udev's own activation and mounted file systems that
# are written to. Rounds are counted, not timed. Each loop says in a file what failed.
STEP=races
install_foldback
poll_soon
export FOLDBACK_DEVICES="$DISK0,$DISK1"
ROUNDS=3

# run NAME COMMAND...: what must succeed in a loop.
run() {
	_loop=$1
	shift
	"$@" >"/run/out.$_loop" 2>&1 || echo "status $?: $*: $(tr '\n' ' ' <"/run/out.$_loop")" >>"/run/failed.$_loop"
}
merged() { ! lvs -a --noheadings -o lv_name vga | grep -qw "$1"; }
# Snapshots come and go on a mounted origin.
snapshots() { # NAME TOOL ORIGIN
	for n in $(seq $ROUNDS); do
		run "$1" "$2" lvcreate -s -L 8m -n "$1$n" "vga/$3"
		run "$1" "$2" lvremove -y "vga/$1$n"
	done
}
# Merges begin and end, begun by each in turn, and bring the old content back.
merges() { # NAME TOOL OTHER
	old=$(digest /dev/vga/m)
	for n in $(seq $ROUNDS); do
		run "$1" "$2" lvcreate -s -L 12m -n "$1$n" vga/m
		run "$1" dd if=/dev/urandom of=/dev/vga/m bs=64k count=64 conv=fsync
		run "$1" "$3" lvconvert --merge "vga/$1$n"
		run "$1" waits merged "$1$n"
		run "$1" test "$old" = "$(digest /dev/vga/m)"
	done
}
looks() {
	for n in $(seq $((ROUNDS * 2))); do
		run looks lvs -a -o +lv_merging,snap_percent
		run looks foldback lvs -a
	done
}
# The disk of vgb appears again and again: udev's rule has LVM2 activate what Foldback activates at the same time.
appears() {
	for n in $(seq $ROUNDS); do
		run appears foldback vgchange -an vgb
		rm -f /run/lvm/pvs_online/* /run/lvm/vgs_online/vgb
		run appears udevadm trigger --action=add "$DISK1"
		run appears foldback vgchange -ay vgb
		run appears udevadm settle
		run appears waits sh -c '! systemctl is-active -q lvm-activate-vgb.service'
		run appears test -b /dev/vgb/one -a -b /dev/vgb/two
	done
}
writes() { # DIRECTORY: until /run/stop is there; each file's checksum is kept elsewhere once the file is durable
	n=0
	while [ ! -e /run/stop ]; do
		n=$((n + 1))
		run "writes-$1" dd if=/dev/urandom of="/run/$1/f$((n % 20))" bs=32k count=2 conv=fsync
		(cd "/run/$1" && sha256sum "f$((n % 20))") >"/run/sums-$1/f$((n % 20))"
	done
	echo $n >"/run/written-$1"
}

must pvcreate "$DISK0"
must pvcreate "$DISK1"
must vgcreate vga "$DISK0"
must vgcreate vgb "$DISK1"
for lv in root home m; do must lvcreate -y -L 32m -n $lv vga; done
for lv in one two; do must lvcreate -y -L 8m -n $lv vgb; done
must dd if=/dev/urandom of=/dev/vga/m bs=1M count=32 conv=fsync
for lv in root home; do
	must mke2fs -q -t ext4 /dev/vga/$lv
	must mkdir -p /run/$lv /run/sums-$lv
	must mount /dev/vga/$lv /run/$lv
done
udevadm settle

writes root &
writers=$!
writes home &
writers="$writers $!"
snapshots a foldback root &
loops=$!
snapshots b lvm home &
loops="$loops $!"
merges c foldback lvm &
loops="$loops $!"
looks &
loops="$loops $!"
appears &
loops="$loops $!"
for loop in $loops; do wait "$loop"; done
touch /run/stop
for writer in $writers; do wait "$writer"; done
for name in a b c looks appears writes-root writes-home; do same "loops.$name" "" "$(head -n 3 /run/failed.$name 2>/dev/null)"; done
# udev did activate vgb beside Foldback.
check loops.event sh -c "journalctl -b -q --no-pager -u lvm-activate-vgb.service | grep -q 'now active'"
check loops.written test "$(cat /run/written-root)" -gt 5 -a "$(cat /run/written-home)" -gt 5
left loops
same loops.lvs "home m root " "$(lvs -a --noheadings -o lv_name vga | tr -d ' ' | sort | tr '\n' ' ')"

# Killed while it waits for the lock of the VG, another waiting beside it: that one goes on, nothing is left.
for tool in foldback lvm; do
	flock -x /run/lock/lvm/V_vga sleep 3 &
	holder=$!
	sleep 0.5
	$tool lvcreate -s -L 8m -n killed vga/root >/run/out 2>&1 &
	killed=$!
	foldback lvcreate -s -L 8m -n "by$tool" vga/root >/run/other 2>&1 &
	other=$!
	sleep 1.5
	kill -9 $killed
	wait $holder
	wait $other
	same "killed.$tool.other" 0 $?
	left "killed.$tool"
	same "killed.$tool.lvs" "by$tool" "$(lvs -a --noheadings -o lv_name vga | tr -d ' ' | grep 'by\|killed')"
	check "killed.$tool.remove" foldback lvremove -y "vga/by$tool"
done

for lv in root home; do
	must umount /run/$lv
	must mount /dev/vga/$lv /run/$lv
	for sum in "/run/sums-$lv"/*; do (cd /run/$lv && sha256sum -c --quiet "$sum") >>/run/wrong 2>&1; done
	must umount /run/$lv
	check "end.fsck-$lv" e2fsck -fn /dev/vga/$lv
done
same end.data "" "$(cat /run/wrong)"
for vg in vga vgb; do silent "end.$vg" vgck $vg; done
check end.down foldback vgchange -an vga
same end.kernel "" "$(dmesg | grep -E 'BUG:|WARNING:|Oops|hung' | head -n 3)"
left end
