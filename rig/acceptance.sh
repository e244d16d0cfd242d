# The cases of rig/acceptance, run by the programs in $BIN, which are LVM2's or Foldback under LVM2's names ($SIDE): each on
# the disks $DISKS as they were after LVM2 had made a volume group of the first two. What is said goes to $SCRATCH/out and
# $SCRATCH/err; the host compares the two sides.
STEP=acceptance
OUT=$SCRATCH/out ERR=$SCRATCH/err
PATH=$BIN:$PATH
set -- $DISKS
must pvcreate "$1" "$2"
must vgcreate vg "$1" "$2"
for disk in $DISKS; do must dd if="$disk" of="/run/saved.${disk##*/}" bs=1M count=1; done

mark() { echo "$@" >>"$OUT" && echo "$@" >>"$ERR"; }
# begin NAME: the disks and the settings as each case finds them.
begin() {
	CASE=$1
	mark "@case $1"
	for disk in $DISKS; do dd if="/run/saved.${disk##*/}" of="$disk" bs=1M conv=fsync 2>/dev/null; done
	LVM_SYSTEM_DIR=/run/lvm-case
	rm -rf $LVM_SYSTEM_DIR
	cp -r "$SCRATCH/lvm" $LVM_SYSTEM_DIR
}
# shell NUMBER COMMAND...: not a command of LVM2's.
shell() {
	mark "@step $1"
	shift
	"$@" >>"$OUT" 2>>"$ERR" </dev/null
	echo "@code $?" >>"$OUT"
}
# step NUMBER COMMAND...: an LVM2 command, whichever program has its name now.
step() {
	_number=$1 _command=$BIN/$2
	shift 2
	shell "$_number" "$_command" "$@"
}
# end: the metadata as LVM2 reads them, and what it thinks of them; nothing is left active.
end() {
	set -- $DISKS
	LVM_SYSTEM_DIR=$SCRATCH/lvm
	release
	mountpoint -q $MOUNTED && umount $MOUNTED
	shell metadata /usr/sbin/pvck --dump metadata "$1"
	shell vgck /usr/sbin/vgck vg
	# A stack goes from its top, one layer at a time.
	for _ in 1 2 3 4; do
		set -- /dev/mapper/*-*
		[ -e "$1" ] && dmsetup remove_all
	done
	[ -e "$1" ] && fail "$CASE" "left active: $*"
	rm -rf /dev/vg /dev/two
}
# devices: what the kernel has of the VG: names, UUIDs, tables with names for numbers, links.
devices() {
	set -- /dev/mapper/*-*
	[ -e "$1" ] || return 0
	dmsetup info -c --noheadings --separator / -o major,minor,name | sed 's,^\([0-9]*\)/\([0-9]*\)/\(.*\),s/ \1:\2 / \3 /g,' >/run/numbers
	dmsetup info -c --noheadings --separator ' ' --sort name -o name,attr,open,uuid
	dmsetup table | sort | sed 's/$/ /' | sed -f /run/numbers
	for link in /dev/vg/*; do [ -L "$link" ] && echo "$link $(readlink "$link")"; done
	return 0
}
# write DEVICE MIB [AT]: so many MiB, behind so many.
write() { yes foldback | dd of="$1" bs=1M count="$2" seek="${3:-0}" iflag=fullblock oflag=direct conv=notrunc 2>/dev/null; }
# bare LV: its device is there and has no table, as after a process that was killed in the middle of an activation.
bare() {
	set -- "$1" "LVM-$(/usr/sbin/lvs --noheadings --separator '' -o vg_uuid,lv_uuid "$1" | tr -d ' -')"
	dmsetup create "vg-${1#*/}" --uuid "$2" --notable
}
# settled NAME: the kernel has merged everything there.
settled() {
	for _ in $(seq 300); do
		# shellcheck disable=SC2046
		set -- "$1" $(dmsetup status "$1")
		[ "${5%/*}" = "$6" ] && return 0
		sleep 0.1
		set -- "$1"
	done
	return 1
}
# hold DEVICE: somebody has it open until `release`.
hold() {
	sleep 600 <"$1" >/dev/null 2>&1 &
	HOLDER=$!
}
release() {
	[ -n "$HOLDER" ] || return 0
	kill $HOLDER && wait $HOLDER 2>/dev/null
	HOLDER=
}
MOUNTED=/run/mounted
mkdir $MOUNTED
# mounted DEVICE: a file system with one file in it.
mounted() { mke2fs -q -F -b 4096 "$1" && mount "$1" $MOUNTED && echo content >$MOUNTED/file && sync; }
# gone LV: it leaves the metadata, soon, since somebody is on it.
gone() {
	for _ in $(seq 300); do
		/usr/sbin/lvs "$1" >/dev/null 2>&1 || return 0
		sleep 0.1
	done
	return 1
}
# kinds: a VG with LVs of kinds that Foldback only shows. Restored by LVM2, for which the kernel needs none of the targets.
kinds() {
	/usr/sbin/vgcfgbackup -f /run/kinds vg >/dev/null
	sed -i '$d' /run/kinds
	{
		echo 'logical_volumes {'
		lv pool p1 'VISIBLE' 'type = "thin-pool" metadata = "pool_tmeta" pool = "pool_tdata" transaction_id = 1 chunk_size = 128 discards = "passdown" zero_new_blocks = 1' 4
		lv thin p2 'VISIBLE' 'type = "thin" thin_pool = "pool" transaction_id = 0 device_id = 1' 10
		lv raid p3 'VISIBLE' 'type = "raid1" device_count = 2 region_size = 4096 raids = [ "raid_rmeta_0", "raid_rimage_0", "raid_rmeta_1", "raid_rimage_1" ]' 2
		lv mirror p4 'VISIBLE' 'type = "mirror" mirror_count = 2 mirror_log = "mirror_mlog" region_size = 1024 mirrors = [ "mirror_mimage_0", 0, "mirror_mimage_1", 0 ]' 2
		lv cached p5 'VISIBLE' 'type = "cache" cache_pool = "fast_cpool" origin = "cached_corig"' 3
		lv fast_cpool p6 '' 'type = "cache-pool" data = "fast_cpool_cdata" metadata = "fast_cpool_cmeta" metadata_format = 2 chunk_size = 128 cache_mode = "writethrough" policy = "smq"' 2
		plain pool_tdata q1 pv0 0 4
		plain pool_tmeta q2 pv0 4 1
		plain raid_rmeta_0 q3 pv0 5 1
		plain raid_rimage_0 q4 pv0 6 2
		plain raid_rmeta_1 q5 pv1 0 1
		plain raid_rimage_1 q6 pv1 1 2
		plain mirror_mlog q7 pv0 8 1
		plain mirror_mimage_0 q8 pv0 9 2
		plain mirror_mimage_1 q9 pv1 3 2
		plain cached_corig r1 pv0 11 3
		plain fast_cpool_cdata r2 pv0 14 2
		plain fast_cpool_cmeta r3 pv0 16 1
		plain lvol0_pmspare r4 pv0 17 1
		echo '} }'
	} >>/run/kinds
	/usr/sbin/vgcfgrestore --force -f /run/kinds vg
}
# lv NAME TWO-LETTERS STATUS SEGMENT EXTENTS
lv() {
	[ -n "$3" ] && _visible=', "VISIBLE"' || _visible=
	echo "$1 { id = \"aaaa$2-aaaa-aaaa-aaaa-aaaa-aaaa-aaaaaa\" status = [ \"READ\", \"WRITE\"$_visible ] flags = [] segment_count = 1"
	echo "segment1 { start_extent = 0 extent_count = $5 $4 } }"
}
# plain NAME TWO-LETTERS PV START EXTENTS
plain() { lv "$1" "$2" '' "type = \"striped\" stripe_count = 1 stripes = [ \"$3\", $4 ]" "$5"; }
