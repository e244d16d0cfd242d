# Merges of inactive volumes by our engine while the kernel has device-mapper. The PV is a delay on $DISK, so that there is
# time to look. vgp has root (with a snapshot snap) and other, which stays mounted all through.
STEP=premerge
fold() { "$FOLDBACK" "$@" --devices "$PV"; }
lvs_of() { lvs -a --noheadings -o lv_name,lv_attr --separator ' ' vgp | sort | awk '{ print $1, $2 }' | tr '\n' ';'; }
devices() { dmsetup info -c --noheadings -o name,open --separator ' ' | grep '^vgp-root\|^vgp-snap' | sort | tr '\n' ';'; }
# LVM2 looks whether a merge has ended every second.
SOON='activation{polling_interval=1}'
no_snap() { ! lvs -a --noheadings -o lv_name vgp | grep -q snap; }
is_up() { dmsetup info vgp-root-real; }
# refused NAME WORDS COMMAND...
refused() {
	_refused=$1 _words=$2
	shift 2
	if "$@" >/run/out 2>&1; then
		fail "$_refused" "it went well: $(tr '\n' ' ' </run/out)"
	elif ! grep -q "$_words" /run/out; then
		fail "$_refused" "not told '$_words': $(tr '\n' ' ' </run/out)"
	else
		ok "$_refused"
	fi
}
# said NAME WORDS: the last command's output has them.
said() { if grep -q "$2" /run/out; then ok "$1"; else fail "$1" "not told '$2': $(tr '\n' ' ' </run/out)"; fi; }

# delay MS: what each write costs from now on.
delay() {
	must dmsetup reload slow --table "0 $(blockdev --getsz "$DISK") delay $DISK 0 0 $DISK 0 $1"
	must dmsetup resume slow
}
# prepare SEED [CHUNKS]: takes a snapshot of root, spoils root after it, and leaves both inactive; SNAP is what root has to be
# again.
prepare() {
	delay 0
	must lvchange -ay vgp/root
	SNAP=$(digest /dev/vgp/root)
	must lvcreate -s -L 48m -n snap vgp/root
	must "$XTASK" guest write /dev/vgp/root random 4096 "${2:-1000}" "$1"
	must lvchange -an vgp/root
}
# Brings root up by LVM2 and the kernel, which ends what is left of a merge, and compares.
compare() {
	delay 0
	must lvchange -ay --config "$SOON" vgp/root
	check "$1.ended" waits no_snap
	same "$1.content" "$SNAP" "$(digest /dev/vgp/root)"
	same "$1.lvs" "other -wi-ao----;root -wi-a-----;" "$(lvs_of)"
	must lvchange -an vgp/root
	same "$1.devices" "" "$(devices)"
}

must dmsetup create slow --table "0 $(blockdev --getsz "$DISK") delay $DISK 0 0 $DISK 0 0"
PV=/dev/mapper/slow
only "$PV"
must vgcreate vgp "$PV"
must lvcreate -Wn -L 64m -n root vgp
must lvcreate -Wn -L 16m -n other vgp
must mkfs.ext4 -q /dev/vgp/other
mkdir -p /run/mnt
must mount /dev/vgp/other /run/mnt
must "$XTASK" guest pattern /dev/vgp/root 1
must lvchange -an vgp/root

# While our engine merges nobody activates the LVs, changes or removes them, and the other LV of the VG stays in use.
prepare 2 8000
delay 1000
"$FOLDBACK" lvconvert --merge vgp/snap --devices "$PV" >/run/merge 2>&1 &
merge=$!
check claimed waits is_up
same claimed.devices "vgp-root 1;vgp-root-real 1;vgp-snap-cow 1;" "$(devices)"
refused claimed.lvm2 'busy' lvchange -ay vgp/root
state() { lvs -a --noheadings -o vg_seqno,lv_name,lv_size,lv_attr vgp 2>&1; }
before=$(state)
for who in lvm 'fold lvm' fold; do
	for change in 'lvremove -y vgp/root' 'lvchange -an vgp/root' 'vgchange -an vgp' 'vgremove -ff -y vgp'; do
		# shellcheck disable=SC2086 # words
		refused "$(echo "claimed.$who.$change" | tr -d ' ')" 'in use\|open logical volume' $who $change
	done
	# shellcheck disable=SC2086 # words
	refused "$(echo "claimed.$who.lvextend" | tr -d ' ')" 'in use\|only while inactive' $who lvextend -L +4m vgp/root
done
for change in 'lvchange -ay vgp/root' 'lvrename vgp/root new' 'lvconvert --merge vgp/snap'; do
	# shellcheck disable=SC2086 # words
	refused "claimed.foldback.$(echo "$change" | tr -d ' ')" 'vgp/root in use' fold $change
done
same claimed.unchanged "$before" "$(state)"
refused claimed.rename 'Failed to suspend' lvrename vgp/root new
# LVM2 says that it brought all up, and looks every second how far the merge is: it must find none that has ended.
vgchange -ay --config "$SOON" vgp >/run/out 2>&1
sleep 3
same claimed.polled "$before" "$(state)"
check claimed.goes-on kill -0 $merge
check claimed.other dd if=/dev/zero of=/run/mnt/file bs=4k count=10 conv=fsync
delay 0
wait $merge
same claimed.status 0 $?
same claimed.gone "" "$(devices)"
compare claimed

# Killed in the middle: LVM2 and the kernel go on with it; so does the same command.
for who in kernel again; do
	prepare 3
	delay 700
	"$FOLDBACK" lvconvert --merge vgp/snap --devices "$PV" >/run/merge 2>&1 &
	merge=$!
	check "killed-$who.up" waits is_up
	kill -9 $merge
	wait $merge 2>/dev/null
	same "killed-$who.left" "vgp-root 0;vgp-root-real 0;vgp-snap-cow 0;" "$(devices)"
	[ $who = kernel ] || check "killed-$who.end" fold lvconvert --merge vgp/snap
	compare "killed-$who"
done

# What an initramfs does: bounded, and the kernel does the rest.
prepare 5 8192
must lvconvert --merge vgp/snap
delay 700
check premerge.over fold premerge --max-time 1 vgp
said premerge.over.words 'The time is over; vgp/snap is merged on once vgp/root is active'
same premerge.over.devices "" "$(devices)"
check premerge.rest lvs vgp/snap
delay 0
check premerge.all fold premerge
said premerge.all.words 'Merge of snapshot into logical volume vgp/root has finished'
compare premerge
prepare 6
check premerge.unmarked fold premerge vgp
check premerge.unmarked.stays lvs vgp/snap
must lvconvert --merge vgp/snap
must lvchange -ay --poll n vgp/root
check premerge.active fold premerge vgp
check premerge.active.kernels sh -c 'dmsetup table vgp-root | grep -q snapshot-merge'
must lvchange --poll y --config "$SOON" vgp/root
check premerge.active.ended waits no_snap
must lvchange -an vgp/root

# Under LVM2's name it waits for the activation, in LVM2's words.
prepare 7
check name.lvm2 fold lvm lvconvert --merge vgp/snap
said name.words 'Merging of snapshot vgp/snap will occur on next activation of vgp/root.'
same name.devices "" "$(devices)"
compare name
must umount /run/mnt
must vgchange -an vgp
