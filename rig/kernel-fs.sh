# ext4 and XFS on volumes that the kernel carries, mounted through everything that Foldback does with them, while fio writes and
# verifies. VG vgf on a delay on $DISK; LV and directory e (ext4), LV and directory x (XFS). PART is first (up to the kernel's end in
# the middle of two merges) or second.
#
# What has to be there after each merge is what was there when the snapshot was taken: files with their digests in $SCRATCH/sums, among
# them one of fio's that it verifies again.
STEP=kernel-fs
fb() { "$FOLDBACK" "$@"; }
FIO="fio --ioengine=psync --direct=1 --bs=4k --verify=crc32c --verify_fatal=1 --verify_state_save=0"
# delay MS: what each write costs from now on.
delay() {
	must dmsetup reload slow --table "0 $(blockdev --getsz "$DISK") delay $DISK 0 0 $DISK 0 $1"
	must dmsetup resume slow
}
# One round: a bounded number of bytes, no faster than that, then all of them are read and verified.
round() { # FS NUMBER
	$FIO --name=round --filename="/run/$1/round" --size=1m --rw=randwrite --rate=4m --fsync=64 --randseed="$2"
}
through() { for fs in e x; do writer $fs round $fs; done; }
went_through() { for fs in e x; do wrote $fs "$1.$fs.fio"; done; } # NAME
# up LV FS, down FS
up() {
	case $2 in
	e) mount "/dev/vgf/$1" /run/e ;;
	x) mount -o nouuid "/dev/vgf/$1" /run/x ;;
	esac
}
both_up() { for fs in e x; do must up $fs $fs; done; }
both_down() { for fs in e x; do must umount /run/$fs; done; }
# What is to be found again, and what is not: snapshots are taken between the two.
sums() { (cd /run && sha256sum e/file* x/file* e/kept x/kept); }
before() { # ROUND: other content than the last
	for fs in e x; do
		for n in 1 2 3 4; do must dd if=/dev/urandom of=/run/$fs/file$n bs=64k count=4; done
	done
	sync
	sums >"$SCRATCH/sums"
	sync -f "$SCRATCH/sums"
}
after() {
	for fs in e x; do
		for n in 1 2 3; do must dd if=/dev/urandom of=/run/$fs/file$n bs=64k count=6 conv=fsync; done
		must rm /run/$fs/file4
		must dd if=/dev/urandom of=/run/$fs/later bs=64k count=8 conv=fsync
	done
}
# Many places that were not written in their order: with writes of 100 ms a merge that lasts half a minute.
scatter() {
	must $FIO --name=scatter --filename=/run/e/scatter --size=4m --rw=randwrite --end_fsync=1
	must $FIO --name=scatter --filename=/run/x/scatter --size=8m --rw=randwrite --end_fsync=1
}
kept() { $FIO --name=kept --filename="/run/$1/kept" --size=4m --rw=write --randseed=1 "$2"; } # FS OPTION
# back NAME: mounted, all is as it was before.
back() {
	same "$1.content" "$(cat "$SCRATCH/sums")" "$(sums 2>&1)"
	for fs in e x; do
		check "$1.$fs.kept" kept $fs --verify_only
		same "$1.$fs.later" no "$(test -e /run/$fs/later && echo yes || echo no)"
	done
}
# clean NAME: not mounted.
clean() {
	check "$1.fsck" fsck.ext4 -fn /dev/vgf/e
	check "$1.repair" xfs_repair -n /dev/vgf/x
	silent "$1.vgck" vgck vgf
	same "$1.volumes" "e x " "$(lvs -a --noheadings -o lv_name --sort lv_name vgf | tr -d ' ' | tr '\n' ' ')"
	running "$1"
}
snapshots() { # NAME
	check "$1.e.snapshot" fb lvcreate -s -c 4k -L 32m -n es vgf/e
	check "$1.x.snapshot" fb lvcreate -s -c 64k -L 96m -n xs vgf/x
}
ends() { for fs in e x; do ended "$1.$fs.ended" vgf-$fs; done; } # NAME

mkdir -p /run/e /run/x
must dmsetup create slow --table "0 $(blockdev --getsz "$DISK") delay $DISK 0 0 $DISK 0 0"
PV=/dev/mapper/slow
only "$PV"
export FOLDBACK_DEVICES="$PV"

first() {
	STEP=make
	must vgcreate vgf "$PV"
	must fb lvcreate -y -L 64m -n e vgf
	must fb lvcreate -y -L 320m -n x vgf
	must mkfs.ext4 -q /dev/vgf/e
	must mkfs.xfs -q /dev/vgf/x
	both_up
	for fs in e x; do must kept $fs --do_verify=1; done

	# Mounted while snapshots are taken; then merges that wait until nobody has the volumes open.
	STEP=deferred
	before
	through
	snapshots deferred
	running deferred.snapshot
	after
	check deferred.e fb lvconvert --merge vgf/es
	check deferred.x fb lvconvert --merge vgf/xs
	went_through deferred
	for fs in e x; do same deferred.$fs.waits snapshot-origin "$(dmsetup status vgf-$fs | cut -d' ' -f3)"; done
	both_down
	for fs in e x; do check deferred.$fs.refresh fb lvchange --refresh vgf/$fs; done
	both_up
	through
	ends deferred
	went_through deferred.merge
	back deferred
	both_down
	clean deferred

	# At once, and mounted again while it runs.
	STEP=at-once
	both_up
	before
	scatter
	sync
	snapshots at-once
	after
	scatter
	both_down
	delay 100
	check at-once.e fb lvconvert --merge -b vgf/es
	check at-once.x fb lvconvert --merge -b vgf/xs
	both_up
	for fs in e x; do check at-once.$fs.runs merging vgf-$fs; done
	back at-once
	through
	delay 0
	ends at-once
	went_through at-once
	back at-once.end
	both_down
	clean at-once

	# The snapshots are mounted all the way, and become the volumes.
	STEP=namesnapshot
	both_up
	before
	snapshots name
	after
	both_down
	must up es e
	must up xs x
	minors="$(stat -c %T /dev/mapper/vgf-es) $(stat -c %T /dev/mapper/vgf-xs)"
	through
	check name.e fb lvconvert --merge --namesnapshot -b vgf/es
	check name.x fb lvconvert --merge --namesnapshot -b vgf/xs
	for fs in e x; do ended name.$fs.ended vgf-${fs}s; done
	went_through name
	same name.minors "$minors" "$(stat -c %T /dev/mapper/vgf-es) $(stat -c %T /dev/mapper/vgf-xs)"
	back name
	for fs in e x; do check name.$fs.rename fb lvrename vgf ${fs}s $fs; done
	both_down
	clean name

	# Begun by the next activation.
	STEP=onactivate
	both_up
	before
	snapshots onactivate
	after
	check onactivate.e fb lvconvert --merge --onactivate vgf/es
	check onactivate.x fb lvconvert --merge --onactivate vgf/xs
	both_down
	check onactivate.down fb vgchange -an vgf
	check onactivate.up fb vgchange -ay vgf
	both_up
	through
	ends onactivate
	went_through onactivate
	back onactivate
	both_down
	clean onactivate

	# Not active: merged by our engine, by the command and by what an initramfs runs.
	STEP=inactive
	both_up
	before
	snapshots inactive
	after
	both_down
	check inactive.down fb vgchange -an vgf
	check inactive.e fb lvconvert --merge vgf/es
	must lvconvert --merge vgf/xs
	check inactive.x fb premerge --max-time 60 vgf
	same inactive.merged "e x " "$(lvs -a --noheadings -o lv_name --sort lv_name vgf | tr -d ' ' | tr '\n' ' ')"
	check inactive.up fb vgchange -ay vgf
	both_up
	back inactive
	through
	went_through inactive
	both_down
	clean inactive

	# The kernel ends in the middle of both merges, with both file systems mounted and fio writing.
	STEP=killed
	both_up
	before
	scatter
	sync
	snapshots killed
	after
	scatter
	both_down
	delay 100
	check killed.e fb lvconvert --merge -b vgf/es
	check killed.x fb lvconvert --merge -b vgf/xs
	both_up
	through
	sleep 1
	for fs in e x; do
		check killed.$fs.runs merging vgf-$fs
		drained vgf-$fs && fail killed.$fs.inside "it is done already"
		kill -0 "$(cat /run/writer-$fs.pid)" || fail killed.$fs.writes "$(cat /run/writer-$fs.said)"
	done
	echo 0 >"$SCRATCH/kill"
	sync -f "$SCRATCH/kill"
	sleep 60
	fail killed 'the kernel was not ended'
}

second() {
	STEP=resumed
	delay 100
	check resumed.up fb vgchange -ay vgf
	for fs in e x; do check resumed.$fs.runs merging vgf-$fs; done
	both_up
	back resumed
	through
	delay 0
	ends resumed
	went_through resumed
	back resumed.end
	both_down
	clean resumed
	check resumed.down fb vgchange -an vgf
	same end.kernel "" "$(dmesg | grep -E 'BUG:|WARNING:|Oops' | head -n 3)"
}

"$PART"
