# The same steps by Foldback under LVM2's names on vga and by LVM2 on vgb, with systemd's udev and LVM2's own rules. udev's database, its
# links, cookies and devices are compared as a command of Foldback returns, without waiting for udev. `guest udev` tells them.
STEP=udev
install_foldback
poll_soon
export FOLDBACK_DEVICES="$DISK0"
UUID_a=11111111-1111-4111-8111-111111111111
UUID_b=22222222-2222-4222-8222-222222222222

differ() { diff "/run/$1.b" "/run/$1.a" | grep '^[<>]' | head -n 12; }
# spoken NAME COMMAND WORDS...: by Foldback and by LVM2. What they say and their status.
# twin NAME COMMAND WORDS...: that, and what is there: of Foldback as the command
# returns, of LVM2 once udev is at rest, since the last word on a new LV there is an event that udev's watch makes later.
spoken() {
	_twin=$1
	shift
	_status=0
	# shellcheck disable=SC2046
	foldback lvm $(vg a "$*") >/run/out 2>&1 || _status=$?
	/run/rig/xtask guest udev vga >/run/there.a
	echo "status $_status" >>/run/out
	_status=0
	# shellcheck disable=SC2046
	lvm $(vg b "$*") >/run/out.b 2>&1 || _status=$?
	udevadm settle
	/run/rig/xtask guest udev vgb >/run/there.b
	echo "status $_status" >>/run/out.b
	sed 's/^ *//; s/vga/VG/g; /^hint:/d' /run/out | sort >/run/said.a
	sed 's/^ *//; s/vgb/VG/g' /run/out.b | sort >/run/said.b
	same "$_twin.said" "" "$(differ said)"
}
twin() {
	spoken "$@"
	same "$_twin.there" "" "$(differ there)"
	if grep '^semaphore\|^suspended' /run/there.a >/run/left; then fail "$_twin.left" "$(cat /run/left)"; else ok "$_twin.left"; fi
}
# vg a|b WORDS: the words for that side.
vg() { echo "$2" | sed "s/VG/vg$1/g"; }
both() {
	for _side in a b; do
		# shellcheck disable=SC2046
		must $(echo "$*" | sed "s/SIDE/$_side/g")
	done
}
# settled NAME: what the two have in the end, once nothing is under way.
settled() {
	udevadm settle
	for _side in a b; do /run/rig/xtask guest udev vg$_side >/run/there.$_side; done
	same "$1" "" "$(differ there)"
}
# leads NAME LINK DEVICE: where a link leads.
leads() { same "$1" "$3" "$(dmsetup info -c --noheadings -o name "$(readlink -f "$2")" 2>&1)"; }
gone() { ! lvs -a --noheadings -o lv_name "$1" | grep -qw "$2"; }

mkdir -p /run/a /run/b
must pvcreate "$DISK0"
must pvcreate "$DISK1"
must vgcreate vga "$DISK0"
must vgcreate vgb "$DISK1"

twin create lvcreate -y -L 48m -n root VG
# Comparing must find what differs: otherwise none of the following says anything.
if grep -q '^udev VG-root E:DM_LV_NAME=root' /run/there.b && grep -q '^link /dev/disk/by-id/dm-name-VG-root VG-root' /run/there.b; then
	ok control.seen
else
	fail control.seen "$(cat /run/there.b)"
fi
sed -i 's/DM_LV_NAME=root/DM_LV_NAME=other/' /run/there.a
same control.there 2 "$(differ there | wc -l)"
# The command waits for udev by a cookie: it is there for as long as udev does nothing, and gone when the command returns.
must systemctl kill --signal=STOP systemd-udevd.service
foldback lvchange -an vga/root >/run/out 2>&1 &
command=$!
check cookie.there waits grep -q '^ *[0-9]' /proc/sysvipc/sem
sleep 1
check cookie.waits kill -0 $command
must systemctl kill --signal=CONT systemd-udevd.service
wait $command
same cookie.status 0 $?
same cookie.gone "" "$(tail -n +2 /proc/sysvipc/sem)"
twin again lvchange -ay VG/root

must mke2fs -q -t ext4 -U $UUID_a /dev/vga/root
must mke2fs -q -t ext4 -U $UUID_b /dev/vgb/root
udevadm settle
must mount /dev/disk/by-uuid/$UUID_a /run/a
must mount /dev/disk/by-uuid/$UUID_b /run/b
both dd if=/dev/urandom of=/run/SIDE/big bs=1M count=4 conv=fsync
settled mounted
twin first lvcreate -s -c 4k -L 8m -n s1 VG/root
leads first.uuid /dev/disk/by-uuid/$UUID_a vga-root
twin second lvcreate -s -c 64k -L 16m -n s-2 VG/root
leads second.uuid /dev/disk/by-uuid/$UUID_a vga-root
settled second.settled
leads second.settled.uuid /dev/disk/by-uuid/$UUID_a vga-root
twin store lvextend -L +8m VG/s1
twin rename lvrename VG s-2 s3
leads rename.name /dev/mapper/vga-s3 vga-s3
twin deferred lvconvert --merge VG/s1
# LVM2 takes the links of a snapshot away whose merge cannot begin yet; Foldback touches nothing then.
check refresh-in-use foldback lvm lvchange --refresh vga/root
leads refresh-in-use.link /dev/vga/s1 vga-s1
leads refresh-in-use.mapper /dev/mapper/vga-s1 vga-s1
left refresh-in-use
both umount /run/SIDE
udevadm settle
# Nobody ends it yet, so that the merge can be looked at.
twin refresh lvchange --refresh --poll n VG/root
leads refresh.uuid /dev/disk/by-uuid/$UUID_a vga-root
settled refresh.settled
# Who ends the merge is at work from now on.
spoken poll lvchange --poll y VG/root
for side in a b; do check "ended.$side" waits gone vg$side s1; done
settled ended
twin down vgchange -an VG
twin up vgchange -ay VG
leads up.uuid /dev/disk/by-uuid/$UUID_a vga-root
settled up.settled
leads up.settled.uuid /dev/disk/by-uuid/$UUID_a vga-root
twin down-one lvchange -an -y VG/root
twin mark lvconvert --merge VG/s3
twin up-merging vgchange -ay --poll n VG
leads up-merging.uuid /dev/disk/by-uuid/$UUID_a vga-root
spoken poll-again vgchange --poll y VG
for side in a b; do check "ended-again.$side" waits gone vg$side s3; done
settled ended-again
leads ended-again.uuid /dev/disk/by-uuid/$UUID_a vga-root
# At once, in the foreground; and a removal.
twin third lvcreate -s -L 8m -n s4 VG/root
# LVM2 leaves the last words to lvmpolld's log.
check at-once.a foldback lvconvert --merge vga/s4
leads at-once.uuid /dev/disk/by-uuid/$UUID_a vga-root
left at-once
check at-once.b lvconvert --merge vgb/s4
settled at-once.settled
twin fourth lvcreate -s -L 8m -n s5 VG/root
twin remove lvremove -y VG/s5
settled remove.settled

# Foldback's own forms: links at each return.
STEP=own
check own.snapshot foldback lvcreate -s -L 8m -n keep vga/root
udevadm settle
check own.namesnapshot foldback lvconvert --merge --namesnapshot vga/keep
leads own.namesnapshot.name /dev/vga/keep vga-keep
leads own.namesnapshot.uuid /dev/disk/by-uuid/$UUID_a vga-keep
same own.namesnapshot.links "/dev/mapper/vga-keep /dev/vga/keep" "$(find /dev/mapper/vga-* /dev/vga/* | sort | tr '\n' ' ' | sed 's/ $//')"
left own.namesnapshot
check own.again foldback lvcreate -s -L 8m -n on vga/keep
check own.onactivate foldback lvconvert --merge --onactivate vga/on
leads own.onactivate.link /dev/vga/on vga-on
check own.down foldback vgchange -an vga
same own.down.links "" "$(find /dev/mapper /dev/vga /dev/disk -type l 2>/dev/null | grep 'vga' | tr '\n' ' ')"
check own.up foldback vgchange -ay vga
check own.ended waits gone vga on
udevadm settle
leads own.uuid /dev/disk/by-uuid/$UUID_a vga-keep
left own
check own.down-again foldback vgchange -an vga
same end.kernel "" "$(dmesg | grep -E 'BUG:|WARNING:|Oops' | head -n 3)"
same end.udev "" "$(journalctl -b --no-pager -q -u systemd-udevd -p warning | head -n 5)"
