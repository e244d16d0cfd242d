# The life of volumes that the kernel carries, by Foldback's commands on vga ($DISK) and by LVM2's on vgb ($OTHER), the same
# step on each; then with vga alone, LVM2 doing a step in between.
STEP=kernel-live
export FOLDBACK_DEVICES="$DISK"
fb() { "$FOLDBACK" "$@"; }
# What one side has, under neutral names: devices, tables, links, and what LVM2 says of it.
side() { # a|b
	{
		dmsetup info -c --noheadings --separator ' ' -o name,attr,uuid | grep "^vg$1" | sed 's/LVM-.\{64\}/LVM/' | sort
		dmsetup table | grep "^vg$1" | sort >/run/tables
		dmsetup info -c --noheadings --separator ' ' -o major,minor,name | while read -r major minor name; do
			sed -i "s, $major:$minor , $name ,g; s, $major:$minor\$, $name," /run/tables
		done
		cat /run/tables
		(cd "/dev/vg$1" 2>/dev/null && find . -type l | sort)
		lvs -a --noheadings --separator ' ' -o lv_name,lv_attr,lv_size,origin,lv_device_open,lv_merging,seg_type "vg$1" | sed 's/^ *//; s/ *$//' | sort
	} | sed "s/vg$1/vg/g; s,$(number "$DISK"),pv,g; s,$(number "$OTHER"),pv,g"
}
number() { echo "$((0x$(stat -c %t "$1"))):$((0x$(stat -c %T "$1")))"; }
# twin NAME COMMAND WORDS...: by Foldback and by LVM2; what they say and what is there afterwards must be the same.
twin() {
	_twin=$1
	shift
	for _side in a b; do
		_words=$(echo "$*" | sed "s/VG/vg$_side/g")
		_status=0
		if [ $_side = a ]; then
			# shellcheck disable=SC2086
			"$FOLDBACK" $_words >/run/said 2>&1 || _status=$?
		else
			# shellcheck disable=SC2086
			lvm $_words >/run/said 2>&1 || _status=$?
		fi
		echo "$(sed "s/vg$_side/vg/g; s/^ *//" /run/said | grep -v '^hint:' | sort) status $_status" >/run/said.$_side
	done
	same "$_twin.said" "$(cat /run/said.b)" "$(cat /run/said.a)"
	same "$_twin.there" "$(side b)" "$(side a)"
}
both() { # COMMAND WORDS...: a step of the set-up on both
	for _side in a b; do
		# shellcheck disable=SC2046
		must $(echo "$*" | sed "s/SIDE/$_side/g")
	done
}
round() { dd if=/dev/urandom of=/run/a/w$(($1 % 4)) bs=64k count=2 conv=fsync; }

mkdir /run/a /run/b
must pvcreate "$DISK"
must pvcreate "$OTHER"
must vgcreate vga "$DISK"
must vgcreate vgb "$OTHER"

# The same steps by both, with ext4 mounted.
twin create lvcreate -y -L 48m -n root VG
both mke2fs -q -t ext4 /dev/vgSIDE/root
both mount /dev/vgSIDE/root /run/SIDE
both dd if=/dev/urandom of=/run/SIDE/big bs=1M count=4 conv=fsync
echo old >/run/a/file
sync
writer a round
twin first lvcreate -s -c 4k -L 8m -n s1 VG/root
echo new >/run/a/file
twin second lvcreate -s -c 64k -L 16m -n s-2 VG/root
twin store lvextend -L +8m VG/s1
twin plain lvcreate -y -L 4m -n plain VG
twin plain-read lvchange -p r VG/plain
twin plain-write lvchange -p rw VG/plain
check plain.longer fb lvextend -l +2 vga/plain
same plain.size "$((12 * 2048))" "$(blockdev --getsz /dev/vga/plain)"
must lvextend -l +2 vgb/plain
twin rename lvrename VG s-2 s3
twin snapshot-read lvchange -p r VG/s3
twin snapshot-read-again lvchange -p r VG/s3
twin snapshot-write lvchange -p rw VG/s3
twin remove lvremove -y VG/plain
twin remove-in-use lvremove -y VG/root
wrote a steps.writer
running steps
# Beside the mounted root: a sparse volume, a store that is glued on and split off, an LV that is made shorter.
twin sparse lvcreate --type snapshot -V 64m -L 8m -n sparse VG
twin sparse-remove lvremove -y VG/sparse
twin store-lv lvcreate -y -Wn -L 8m -n store VG
twin glue lvconvert -y -s VG/root VG/store
twin split-asks lvconvert --splitsnapshot VG/store
check split fb lvconvert -y --splitsnapshot vga/store
must lvconvert -y --splitsnapshot vgb/store
# LVM2 leaves the store's device behind.
must dmsetup remove vgb-store-cow
same split.there "$(side b)" "$(side a)"
twin reduce lvreduce -y -L 4m VG/store
# LVM2 does that, and the store may have filled meanwhile.
if fb lvreduce -y -L 4m vga/s3 >/run/out 2>&1; then fail reduce-snapshot "it was done"; else ok reduce-snapshot; fi
twin store-remove lvremove -y VG/store
twin deferred lvconvert --merge VG/s1
twin deferred-remove lvremove -y VG/s1
twin refused lvcreate -s -L 4m -n s4 VG/root
check cancel fb lvconvert --cancel vga/s1
same cancel.attr "swi-a-s---" "$(lvs --noheadings -o lv_attr vga/s1 | tr -d ' ')"
check deferred-again fb lvconvert --merge vga/s1
for volume in s1 s3; do digest /dev/vga/$volume; done >/run/content
silent steps.vgck vgck vga

# What was deferred begins with a refresh, not with another change, and ends by itself.
STEP=refresh
check refresh.longer fb lvextend -L +4m vga/root
same refresh.not-yet snapshot-origin "$(dmsetup status vga-root | cut -d' ' -f3)"
check refresh.in-use fb lvchange --refresh vga/root
same refresh.waits snapshot-origin "$(dmsetup status vga-root | cut -d' ' -f3)"
must umount /run/a
check refresh fb lvchange --refresh vga/root
must mount /dev/vga/root /run/a
same refresh.file old "$(cat /run/a/file)"
ended refresh.ended vga-root
must umount /run/a
same refresh.volumes "root s3 " "$(lvs -a --noheadings -o lv_name vga | tr -d ' ' | tr '\n' ' ')"
check refresh.fsck e2fsck -fn /dev/vga/root
same refresh.s3 "$(tail -n 1 /run/content)" "$(digest /dev/vga/s3)"
silent refresh.vgck vgck vga
must umount /run/b
must lvremove -y vgb/root

# In the background, mounted at once, to the end; LVM2 takes the snapshot.
STEP=background
must lvcreate -s -c 64k -L 16m -n s1 vga/root
must mount /dev/vga/root /run/a
must dd if=/dev/urandom of=/run/a/big bs=1M count=6 conv=fsync
echo newer >/run/a/file
must umount /run/a
wanted=$(digest /dev/vga/s1)
begun=$(date +%s)
check background fb lvconvert --merge -b vga/s1
must mount -o ro,noload /dev/vga/root /run/a
must umount /run/a
same background.content "$wanted" "$(digest /dev/vga/root)"
must mount /dev/vga/root /run/a
writer a round
ended background.ended vga-root
wrote a background.writer
same background.file old "$(cat /run/a/file)"
must umount /run/a
check background.fsck e2fsck -fn /dev/vga/root
same background.said "" "$(cat /run/foldback/daemon.log 2>/dev/null)"
silent background.vgck vgck vga
check background.s3 fb lvremove -y vga/s3
same background.linear linear "$(dmsetup status vga-root | cut -d' ' -f3 | sort -u)"
same background.alone "root" "$(lvs -a --noheadings -o lv_name vga | tr -d ' ')"

# Marked, the machine started anew with --sysinit, and ended by what the service runs; LVM2 extends in between.
STEP=boot
must lvcreate -s -c 4k -L 16m -n s1 vga/root
must lvcreate -s -c 64k -L 16m -n s2 vga/root
must "$XTASK" guest write /dev/vga/root random 4096 100 5
check boot.origin-longer fb lvextend -L +4m vga/root
same boot.real "$((56 * 2048))" "$(blockdev --getsz /dev/vga/root)"
must lvextend -L +4m vga/s2
must vgchange -an vga
check boot.mark fb lvconvert --merge --onactivate vga/s2
check boot.up fb --backend kernel vgchange -ay --sysinit vga
for _ in $(seq 400); do
	drained vga-root && break
	sleep 0.05
done
sleep 1
same boot.stays snapshot-merge "$(dmsetup status vga-root | cut -d' ' -f3)"
second=$(digest /dev/vga/s1)
check boot.finish env -u FOLDBACK_DEVICES "$FOLDBACK" finish
same boot.finished "root s1 " "$(lvs -a --noheadings -o lv_name vga | tr -d ' ' | tr '\n' ' ')"
same boot.s1 "$second" "$(digest /dev/vga/s1)"
check boot.finish-again fb finish
must vgchange -an vga
check boot.finish-nothing env -u FOLDBACK_DEVICES "$FOLDBACK" finish
must vgchange -ay vga
silent boot.vgck vgck vga
# An activation ends what it begins.
must vgchange -an vga
must lvconvert --merge vga/s1
check boot.up-again fb --backend kernel vgchange -ay vga
same boot.told 1 "$(grep -c 'Background polling started for 1 logical volume(s) in volume group "vga"' /run/out)"
ended boot.ended vga-root
same boot.second "$second" "$(head -c 54525952 /dev/vga/root | sha256sum | cut -c1-64)"
silent boot.vgck-again vgck vga

# Several at one instant, a merge that can be undone, and one that keeps the snapshot.
STEP=more
check more.other fb lvcreate -L 8m -n home vga
check more.several fb lvcreate -s -L 8m -n snap vga/root vga/home
same more.there "home home_snap root root_snap " "$(lvs --noheadings -o lv_name vga | tr -d ' ' | sort | tr '\n' ' ')"
now=$(digest /dev/vga/root)
must "$XTASK" guest write /dev/vga/root random 4096 100 6
later=$(digest /dev/vga/root)
check more.undo fb lvconvert --merge --undo back vga/root_snap
same more.undo.content "$now" "$(digest /dev/vga/root)"
check more.undone fb lvconvert --merge vga/back
same more.undone.content "$later" "$(digest /dev/vga/root)"
exec 9</dev/vga/home_snap
minor=$(stat -c %T /dev/mapper/vga-home_snap)
check more.keep fb lvconvert --merge --namesnapshot -b vga/home_snap
ended more.keep.ended vga-home_snap
exec 9<&-
same more.keep.minor "$minor" "$(stat -c %T /dev/mapper/vga-home_snap)"
same more.keep.there "home_snap root " "$(lvs -a --noheadings -o lv_name vga | tr -d ' ' | sort | tr '\n' ' ')"
for step in --pause --resume "--rate 1m"; do
	# shellcheck disable=SC2086
	"$FOLDBACK" lvconvert $step vga/root >/run/out 2>&1 && fail "more.$step" "it went well"
done
running more

# A store that fills is extended as lvm.conf says, until nobody is to watch it.
STEP=monitor
policy='activation { monitoring = 1 snapshot_autoextend_threshold = 70 snapshot_autoextend_percent = 50 }'
check monitor.snapshot fb lvcreate -s -c 4k -L 4m -n fills --config "$policy" vga/root
same monitor.watched 1 "$(pgrep -cf 'foldback lvmonitor')"
must "$XTASK" guest write /dev/vga/root random 4096 800 7
for _ in $(seq 100); do
	[ "$(blockdev --getsz /dev/mapper/vga-fills-cow)" -gt 8192 ] && break
	sleep 0.1
done
same monitor.extended 16384 "$(blockdev --getsz /dev/mapper/vga-fills-cow)"
check monitor.n fb vgchange --monitor n vga
sleep 2
same monitor.unwatched 0 "$(pgrep -cf 'foldback lvmonitor')"
same monitor.said "" "$(cat /run/foldback/daemon.log)"
# With a threshold of 100 it warns: when the store is nearly full, once, and when the snapshot is lost.
check monitor.y fb vgchange --monitor y vga
must "$XTASK" guest write /dev/vga/root random 4096 950 8
sleep 3
grep -c 'WARNING: Snapshot vga/fills is now 8[0-9]\.[0-9]*% full' /run/foldback/daemon.log >/run/out
same monitor.warned 1 "$(cat /run/out)"
must "$XTASK" guest write /dev/vga/root random 4096 2300 9
sleep 3
same monitor.lost 1 "$(grep -c 'WARNING: Snapshot vga/fills is lost' /run/foldback/daemon.log)"
rm /run/foldback/daemon.log
check monitor.remove fb lvremove -y vga/fills
sleep 2
same monitor.ended 0 "$(pgrep -cf 'foldback lvmonitor')"

# A change that is committed while a device cannot follow (K8): its disk was made shorter between the command's look and its
# change, so that the new table is refused as the device is resumed. It runs on with the old one; a refresh brings the new.
STEP=half
sectors=$(blockdev --getsz "$OTHER")
disk() { dmsetup suspend disk && dmsetup load disk --table "0 $1 linear $OTHER 0" && dmsetup resume disk; }
half() { FOLDBACK_DEVICES=/dev/mapper/disk "$FOLDBACK" "$@"; }
must dmsetup create disk --table "0 $sectors linear $OTHER 0"
must lvcreate -an -Zn -L 16m -n low vgb
must lvcreate -an -Zn -L 84m -n filler vgb
check half.up half lvchange -ay vgb/low
rm -f /run/locked /run/go
flock -x /run/lock/lvm/V_vgb sh -c 'touch /run/locked; until [ -e /run/go ]; do sleep 0.1; done' &
must waits test -e /run/locked
half lvextend -L +4m vgb/low >/run/out 2>&1 &
command=$!
# It has looked at the disks, and waits for the lock.
must waits grep -q -e '->' /proc/locks
disk $((80 * 2048)) || fail half.disk 'it could not be made shorter'
touch /run/go
wait "$command"
cp /run/out /run/half
grep -q 'The change is committed, but a device was not switched: resuming vgb-low' /run/out && ok half.told || fail half.told "$(tr '\n' ' ' </run/half)"
running half
same half.old $((16 * 2048)) "$(blockdev --getsz /dev/mapper/vgb-low)"
must disk "$sectors"
check half.refresh half lvchange --refresh vgb/low
same half.new $((20 * 2048)) "$(blockdev --getsz /dev/mapper/vgb-low)"
silent half.vgck vgck vgb
check half.down half vgchange -an vgb
# A snapshot that waits for its merge, and is lost before that comes, goes beside its origin, which somebody has open.
STEP=lost
must lvcreate -y -L 16m -n open vga
must lvcreate -s -L 4m -n waits vga/open
sleep 600 </dev/vga/open &
holder=$!
check lost.waits fb lvconvert --merge vga/waits
fb lvremove -f vga/waits >/run/out 2>&1 && fail lost.refused 'it was removed'
same lost.told 1 "$(grep -c 'remove merging snapshot logical volume vga/waits' /run/out)"
must dd if=/dev/zero of=/dev/vga/open bs=1M count=8 oflag=direct conv=notrunc
same lost.state Swi-I "$(lvs -a --noheadings -o lv_attr vga/waits | tr -d ' ' | cut -c1-5)"
check lost.remove fb lvremove -f vga/waits
same lost.plain linear "$(dmsetup table vga-open | cut -d' ' -f3)"
kill "$holder"
wait "$holder"
must lvremove -f vga/open
silent more.vgck vgck vga
check more.down fb vgchange -an vga
same end.kernel "" "$(dmesg | grep -E 'BUG:|WARNING:|Oops' | head -n 3)"
