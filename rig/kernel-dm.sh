# The kernel's device-mapper driven by Foldback (`xtask guest kernel`: the manager's plans) and by LVM2 in turns, on a VG vgk
# on $DISK and on a device pv2 that can be made to fail (on $OTHER). $SPARE takes no writes under the name nowrite.
STEP=kernel-dm
kdm() { "$XTASK" guest kernel --pvs "$DISK,/dev/mapper/pv2" --vg vgk "$@"; }
# Every device of LVM2's with its UUID and state, and every table with names for numbers.
state() {
	dmsetup info -c --noheadings --separator ' ' -o name,uuid,attr | grep LVM- | sort
	dmsetup table | grep ^vgk | sort >/run/tables
	dmsetup info -c --noheadings --separator ' ' -o major,minor,name | while read -r major minor name; do
		sed -i "s, $major:$minor , $name ,g; s, $major:$minor\$, $name," /run/tables
	done
	cat /run/tables
}
links() { (cd /dev && find vgk -type l 2>/dev/null | sort | tr '\n' ' '); }
# refused NAME WORDS COMMAND...: the command must fail and say so; nothing may stay suspended.
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
	running "$_refused"
}
# What a writer does on the mounted file system.
round() { dd if=/dev/urandom of=/run/mnt/w$(($1 % 8)) bs=64k count=4 conv=fsync; }

must insmod "$_modules/dm-flakey.ko"
must dmsetup create pv2 --table "0 $(blockdev --getsz "$OTHER") linear $OTHER 0"
must dmsetup create nowrite --table "0 $(blockdev --getsz "$SPARE") flakey $SPARE 0 0 60 1 error_writes"
mkdir /run/lvm-both /run/mnt
sed "s,\^/dev/ubd.a-p..,^($DISK|/dev/mapper/pv2)\$," "$SCRATCH/lvm/lvm.conf" >/run/lvm-both/lvm.conf
export LVM_SYSTEM_DIR=/run/lvm-both

# LVM2 makes an origin with ext4 and two snapshots, one of them read-only.
STEP=make
must pvcreate "$DISK" /dev/mapper/pv2
must vgcreate vgk "$DISK" /dev/mapper/pv2
must lvcreate -an -Zn -L 64m -n or-igin vgk "$DISK"
must lvchange -ay vgk/or-igin
must mke2fs -q -t ext4 /dev/vgk/or-igin
must mount /dev/vgk/or-igin /run/mnt
echo old >/run/mnt/file
must lvcreate -s -c 64k -L 40m -n s1 vgk/or-igin "$DISK"
must dd if=/dev/urandom of=/run/mnt/big bs=1M count=12 conv=fsync
must lvcreate -s -p r -c 4k -L 32m -n s2 vgk/or-igin "$DISK"
echo new >/run/mnt/file
must umount /run/mnt
must "$XTASK" guest write /dev/vgk/s1 random 65536 0 1

STEP=same-as-lvm2
state >/run/by-lvm2
by_lvm2=$(links)
for volume in or-igin s1 s2; do digest /dev/vgk/$volume; done >/run/content
check agrees-lvm2 kdm agrees
must vgchange -an vgk
check up kdm up
same names-uuids-tables "$(cat /run/by-lvm2)" "$(state)"
same links "$by_lvm2" "$(links)"
check agrees kdm agrees
same content "$(cat /run/content)" "$(for volume in or-igin s1 s2; do digest /dev/vgk/$volume; done)"
silent lvs lvs -a vgk
check up-again-fails-as-it-should sh -c "! $XTASK guest kernel --pvs $DISK,/dev/mapper/pv2 --vg vgk up"
check down kdm down
same nothing-left "nowrite pv2 " "$(dmsetup ls | cut -f1 | sort | tr '\n' ' ')"
same no-links "" "$(links)"
check up kdm up

STEP=snapshot
must mount /dev/vgk/or-igin /run/mnt
writer mnt round
check snapshot kdm snapshot or-igin s3 32 8 --on "$DISK"
first=$(digest /dev/vgk/s3)
wrote mnt snapshot.writer
running snapshot
check snapshot.agrees kdm agrees
same snapshot.stays "$first" "$(digest /dev/vgk/s3)"
same snapshot.in-use 1 "$(dmsetup info -c --noheadings -o open vgk-or--igin)"
must umount /run/mnt
check snapshot.fsck e2fsck -fn /dev/vgk/s3
silent snapshot.vgck vgck vgk
silent snapshot.lvs lvs -a vgk

STEP=merge
check merge.begin kdm merge s1 --leave
same merge.target snapshot-merge "$(dmsetup status vgk-or--igin | cut -d' ' -f3)"
same merge.error error "$(dmsetup status vgk-s1 | cut -d' ' -f3)"
same merge.no-link no "$(test -e /dev/vgk/s1 && echo yes || echo no)"
must mount /dev/vgk/or-igin /run/mnt
same merge.content old "$(cat /run/mnt/file)"
writer mnt round
check merge.end kdm merge s1
same merge.finished "OUTCOME Finished" "$(tail -n 1 /run/out)"
wrote mnt merge.writer
check merge.agrees kdm agrees
same merge.volumes "or-igin s2 s3 " "$(lvs -a --noheadings -o lv_name --sort lv_name vgk | tr -d ' ' | tr '\n' ' ')"
must umount /run/mnt
check merge.fsck e2fsck -fn /dev/vgk/or-igin
same merge.s3 "$first" "$(digest /dev/vgk/s3)"
wanted=$(digest /dev/vgk/s2)
check merge2 kdm merge s2
same merge2.content "$wanted" "$(digest /dev/vgk/or-igin)"
same merge2.s3 "$first" "$(digest /dev/vgk/s3)"

STEP=keep
must mount /dev/vgk/s3 /run/mnt
minor=$(stat -c %T /dev/mapper/vgk-s3)
writer mnt round
check keep kdm merge s3 --namesnapshot
same keep.finished "OUTCOME Finished" "$(tail -n 1 /run/out)"
wrote mnt keep.writer
same keep.target linear "$(dmsetup status vgk-s3 | cut -d' ' -f3)"
same keep.minor "$minor" "$(stat -c %T /dev/mapper/vgk-s3)"
check keep.agrees kdm agrees
same keep.volumes "s3 " "$(lvs -a --noheadings -o lv_name vgk | tr -d ' ' | tr '\n' ' ')"
must umount /run/mnt
check keep.fsck e2fsck -fn /dev/vgk/s3
kept=$(digest /dev/vgk/s3)
check keep.down kdm down
silent keep.vgck vgck vgk
must vgchange -ay vgk
same keep.lvm2 "$kept" "$(digest /dev/vgk/s3)"
check keep.agrees-lvm2 kdm agrees

# Faults: the old state or the new one, and nothing suspended.
STEP=faults
must mount /dev/vgk/s3 /run/mnt
before=$(state)
refused load Preload kdm --spoil load snapshot s3 f1 16 8 --on "$DISK"
same load.old "$before" "$(state)"
refused resume Resume kdm --spoil resume snapshot s3 f1 16 8 --on "$DISK"
same resume.old "$before" "$(state)"
refused late-load Suspend kdm --spoil late-load snapshot s3 f1 16 8 --on "$DISK"
same late-load.old "$before" "$(state)"
refused header Commit kdm --spoil header snapshot s3 f1 16 8 --on "$DISK"
same header.old "$before" "$(state)"
refused store Preload kdm --spoil store snapshot s3 f1 16 8 --on /dev/mapper/pv2
same store.old "$before" "$(state)"
must kdm heal
silent faults.vgck vgck vgk
same faults.volumes "s3 " "$(lvs -a --noheadings -o lv_name vgk | tr -d ' ' | tr '\n' ' ')"
refused remove Clean kdm --spoil remove snapshot s3 f1 16 8 --on "$DISK"
check remove.new kdm agrees
must umount /run/mnt

# K8: a handover that the kernel refuses, with the new table in already.
STEP=handover
content=$(digest /dev/vgk/f1)
before=$(state)
check handover kdm --spoil handover merge f1 --leave
same handover.told 1 "$(grep -c 'The merge is marked, but a device was not switched: resuming vgk-s3' /run/out)"
running handover
same handover.old "$before" "$(state)"
must "$XTASK" guest write /dev/vgk/s3 partial 65536 20 9
same handover.f1 "$content" "$(digest /dev/vgk/f1)"
check handover.again kdm merge f1
same handover.content "$content" "$(digest /dev/vgk/s3)"

# The store fails while it changes hands: read anew inside the suspended section, or by the merge itself.
STEP=failing-store
must kdm snapshot s3 f2 16 8 --on /dev/mapper/pv2
must "$XTASK" guest write /dev/vgk/f2 random 4096 60 3
before=$(state)
refused keep-store 'loading a table into vgk-f2: Input/output error' kdm --spoil store merge f2 --namesnapshot
same keep-store.old "$before" "$(state)"
must kdm heal
must vgchange -an vgk
must vgchange -ay vgk
content=$(digest /dev/vgk/f2)
refused merge-store "Merge failed" kdm --spoil store merge f2
same merge-store.target snapshot-merge "$(dmsetup status vgk-s3 | cut -d' ' -f3)"
must kdm heal
must kdm down
must vgchange -ay --poll n vgk
check merge-store.goes-on kdm merge f2
same merge-store.content "$content" "$(digest /dev/vgk/s3)"
check end.down kdm down
silent end.vgck vgck vgk

# The program itself: --backend kernel, and lvs beside LVM2's of the same live volumes.
STEP=program
mkdir /run/bin
ln -s "$FOLDBACK" /run/bin/lvs
export FOLDBACK_DEVICES="$DISK,/dev/mapper/pv2"
columns="lv_name,lv_attr,origin,data_percent,snap_percent,lv_device_open,lv_suspended,lv_merging,lv_snapshot_invalid,lv_merge_failed"
alike() {
	for who in /usr/sbin/lvs /run/bin/lvs; do
		"$who" -a --noheadings --separator ' ' -o "$columns" --sort lv_name vgk 2>&1 | sed 's/^ *//; s/ *$//' >"/run/lvs.$(echo "$who" | tr -d /)"
	done
	same "$1" "$(cat /run/lvs.usrsbinlvs)" "$(cat /run/lvs.runbinlvs)"
}
must vgchange -ay vgk
must lvcreate -s -c 4k -L 32m -n p1 vgk/s3
must lvcreate -s -c 64k -L 4m -n p2 vgk/s3
must lvcreate -an -Zn -L 4m -n alone vgk
must "$XTASK" guest write /dev/vgk/p1 random 4096 300 4
must lvchange -ay vgk/alone
alike program.lvs-of-lvm2s
state >/run/by-lvm2
must vgchange -an vgk
alike program.lvs-inactive
check program.up "$FOLDBACK" --backend kernel vgchange -ay vgk
same program.state "$(cat /run/by-lvm2)" "$(state)"
alike program.lvs
check program.up-again "$FOLDBACK" vgchange -ay vgk
refused program.user 'active in the kernel' "$FOLDBACK" --backend user vgchange -ay vgk
must mount /dev/vgk/s3 /run/mnt
refused program.in-use "Can't deactivate volume group .vgk. with 1 open logical volume" "$FOLDBACK" vgchange -an vgk
refused program.lv-in-use 'Logical volume vgk/s3 contains a filesystem in use' "$FOLDBACK" lvchange -an vgk/s3
same program.still "$(cat /run/by-lvm2)" "$(state)"
# The file system writes by itself for a while, and stores fill.
must fsfreeze -f /run/mnt
alike program.lvs-mounted
must fsfreeze -u /run/mnt
content=$(digest /dev/vgk/p1)
check program.deferred "$FOLDBACK" lvconvert --merge vgk/p1
same program.deferred.told 1 "$(grep -c 'will occur on next activation of vgk/s3' /run/out)"
alike program.lvs-deferred
must dd if=/dev/urandom of=/run/mnt/fill bs=1M count=8 conv=fsync
alike program.lvs-invalid
must umount /run/mnt
check program.down "$FOLDBACK" vgchange -an
same program.nothing-left "nowrite pv2 " "$(dmsetup ls | cut -f1 | sort | tr '\n' ' ')"
check program.up-merging "$FOLDBACK" lvchange -ay --poll n vgk/s3
until dmsetup status vgk-s3 | grep -q ' \([0-9]*\)/[0-9]* \1$'; do sleep 0.1; done
alike program.lvs-merging
check program.merge "$FOLDBACK" lvconvert --merge vgk/p1
same program.content "$content" "$(digest /dev/vgk/s3)"
alike program.lvs-merged
check program.lvs-down "$FOLDBACK" vgchange -an vgk
silent program.vgck vgck vgk
same end.kernel "" "$(dmesg | grep -E 'BUG:|WARNING:|Oops' | head -n 3)"
