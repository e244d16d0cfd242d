# What others leave behind, or do at the same moment: activations that were killed half way, tables that nobody brought up, two who
# activate at once, disks that come to a VG while it merges, disks that must not be written.
STEP=kernel-left
export FOLDBACK_DEVICES="$DISK"
fb() { "$FOLDBACK" "$@"; }
mkdir -p /run/bin /run/a
ln -s "$FOLDBACK" /run/bin/lvm
as_lvm2() { env -u FOLDBACK_DEVICES /run/bin/lvm "$@"; }
tables() { dmsetup table | grep '^vga' | sort; }
uuid_of() { dmsetup info -c --noheadings -o uuid "$1"; }
up() { must lvchange -ay vga/root; }
down() { must lvchange -an vga/root; }

must vgcreate vga "$DISK"
must lvcreate -y -Zn -Wn -L 32m -n root vga
must "$XTASK" guest pattern /dev/vga/root 1
must lvcreate -s -c 4k -L 32m -n snap vga/root
must "$XTASK" guest write /dev/vga/root random 4096 500 2
SNAP=$(digest /dev/vga/snap) ROOT=$(digest /dev/vga/root)

# Killed after each device, with the last one empty or live: the next activation makes it whole.
for device in vga-root-real vga-snap-cow vga-snap vga-root; do
	dmsetup table $device >/run/table.$device
	uuid_of $device >/run/uuid.$device
done
whole=$(tables)
down
n=0
for last in empty live; do
	for killed in vga-root-real vga-snap-cow vga-snap vga-root; do
		n=$((n + 1))
		for device in vga-root-real vga-snap-cow vga-snap vga-root; do
			must dmsetup create "$device" -u "$(cat /run/uuid.$device)" --notable
			[ $last.$device = empty.$killed ] && break
			real=$(dmsetup info -c --noheadings -o major,minor vga-root-real 2>/dev/null)
			cow=$(dmsetup info -c --noheadings -o major,minor vga-snap-cow 2>/dev/null)
			case $device in
			vga-snap) table="0 65536 snapshot $real $cow P 8" ;;
			vga-root) table="0 65536 snapshot-origin $real" ;;
			*) table=$(cat /run/table.$device) ;;
			esac
			must dmsetup load "$device" --table "$table"
			must dmsetup resume "$device"
			[ $device = $killed ] && break
		done
		check "half.$n" fb lvchange -ay vga/root
		same "half.$n.tables" "$(echo "$whole" | wc -l)" "$(tables | wc -l)"
		same "half.$n.content" "$SNAP $ROOT" "$(digest /dev/vga/snap) $(digest /dev/vga/root)"
		running "half.$n"
		check "half.$n.down" fb lvchange -an vga/root
		same "half.$n.gone" "" "$(dmsetup ls | grep vga)"
	done
done

# Killed between two suspends, with a table loaded that the metadata do not know.
STEP=stopped
up
before=$(tables)
must dmsetup load vga-root --table "0 65536 error"
must dmsetup suspend vga-root
must dmsetup suspend vga-root-real
check stopped fb lvchange -ay vga/root
running stopped
same stopped.tables "$before" "$(tables)"
same stopped.content "$SNAP $ROOT" "$(digest /dev/vga/snap) $(digest /dev/vga/root)"
# The same without a suspend: a change that resumes the device must not bring it up.
must dmsetup load vga-root-real --table "0 65536 error"
check strange fb lvcreate -s -L 4m -n more vga/root
same strange.real linear "$(dmsetup table vga-root-real | cut -d' ' -f3)"
same strange.content "$SNAP $ROOT" "$(digest /dev/vga/more >/dev/null && digest /dev/vga/snap) $(digest /dev/vga/root)"
must lvremove -y vga/more
down

# Two activate at once, and wait for whoever has the VG: both go well, and all is there.
STEP=at-once
for second in "$FOLDBACK" /usr/sbin/lvm; do
	name=at-once.${second##*/}
	mkdir -p /run/lock/lvm
	flock /run/lock/lvm/V_vga sleep 3 &
	holder=$!
	sleep 0.5
	fb vgchange -ay vga >/run/first 2>&1 &
	first=$!
	sleep 1
	$second vgchange -ay vga >/run/second 2>&1 &
	other=$!
	wait $first && ok "$name.first" || fail "$name.first" "$(cat /run/first)"
	wait $other && ok "$name.second" || fail "$name.second" "$(cat /run/second)"
	wait $holder
	same "$name.tables" "$(echo "$whole" | wc -l)" "$(tables | wc -l)"
	same "$name.content" "$SNAP" "$(digest /dev/vga/snap)"
	running "$name"
	down
done

# Who waits for a merge keeps no disk, and ends it also where the VG has another disk by then.
STEP=poller
up
must "$XTASK" guest write /dev/vga/root random 4096 3000 4
# How much of its time the kernel copies: slow enough for what follows.
throttle=/sys/module/dm_snapshot/parameters/snapshot_copy_throttle
must test -w $throttle
echo 1 >$throttle
check poller fb lvconvert --merge -b vga/snap
closed() {
	for _pid in $(pgrep -f lvpoll); do ls -l "/proc/$_pid/fd" 2>/dev/null; done >/run/open
	! grep -q "$DISK" /run/open
}
check poller.closed waits closed
must vgextend vga "$OTHER"
check poller.merging merging vga-root
echo 100 >$throttle
ended poller.ended vga-root
same poller.content "$SNAP" "$(digest /dev/vga/root)"
same poller.volumes "root" "$(lvs -a --noheadings -o lv_name vga | tr -d ' ')"
must vgreduce vga "$OTHER"
silent poller.vgck vgck vga

# The same for who watches stores: it extends one also where only a disk that joined later has room. As LVM2's program it finds disks.
STEP=watch
must lvcreate -s -c 4k -L 8m -n tight vga/root
grows='activation { monitoring = 1 snapshot_autoextend_threshold = 70 snapshot_autoextend_percent = 100 }'
check watch as_lvm2 vgchange --monitor y --config "$grows" vga
must lvcreate -an -Zn -l 100%FREE -n rest vga
must vgextend vga "$OTHER"
before=$(blockdev --getsz /dev/mapper/vga-tight-cow)
must "$XTASK" guest write /dev/vga/root random 4096 1600 5
grown() { [ "$(blockdev --getsz /dev/mapper/vga-tight-cow)" -gt "$before" ]; }
check watch.grown waits grown
same watch.valid no "$(lvs --noheadings -o lv_snapshot_invalid vga/tight | grep -q invalid && echo yes || echo no)"
check watch.ends as_lvm2 vgchange --monitor n vga
must lvremove -y vga/tight vga/rest
must vgreduce vga "$OTHER"
silent watch.vgck vgck vga
SNAP=$(digest /dev/vga/root)

# A disk of somebody else that must not be written is no hindrance.
STEP=protected
must vgcreate vgb "$OTHER"
must blockdev --setro "$OTHER"
check protected as_lvm2 lvcreate -an -Zn -L 4m -n new vga
if as_lvm2 lvcreate -an -Zn -L 4m -n new vgb >/run/out 2>&1; then fail protected.refused "it was written"; else ok protected.refused; fi
must blockdev --setrw "$OTHER"
same protected.volumes "" "$(lvs -a --noheadings -o lv_name vgb | tr -d ' ')"
must lvremove -y vga/new

# Before anything is active premerge finds the PVs by itself.
STEP=premerge
up
must lvcreate -s -c 4k -L 32m -n snap vga/root
must "$XTASK" guest write /dev/vga/root random 4096 500 3
must dd if=/dev/vga/root of=/dev/null bs=4096 count=1
exec 8</dev/vga/root
must fb lvconvert --merge vga/snap
exec 8<&-
down
check premerge env -u FOLDBACK_DEVICES "$FOLDBACK" premerge
same premerge.volumes "root" "$(lvs -a --noheadings -o lv_name vga | tr -d ' ')"
up
same premerge.content "$SNAP" "$(digest /dev/vga/root)"
silent premerge.vgck vgck vga
down

# A PV is gone from what is scanned: its volumes go down all the same, by what the kernel has of them, and nothing is left in silence.
STEP=missing
must vgremove -y vgb
must vgextend vga "$OTHER"
must lvcreate -y -Zn -Wn -L 16m -n far vga "$OTHER"
must lvcreate -s -c 4k -L 8m -n tail vga/far "$DISK"
far() { dmsetup ls | grep -c vga-; }
same missing.up 4 "$(far)"
exec 8</dev/vga/tail
if fb lvchange -y -an vga/far >/run/said 2>&1; then fail missing.open "it was taken down"; else ok missing.open; fi
same missing.open.words 1 "$(grep -c 'Logical volume vga/tail in use' /run/said)"
if fb vgchange -an vga >/run/said 2>&1; then fail missing.open.vg "it was taken down"; else ok missing.open.vg; fi
same missing.open.left 4 "$(far)"
exec 8<&-
fb vgchange --refresh vga >/run/said 2>&1
same missing.refresh 5 $?
same missing.refresh.words 1 "$(grep -c 'vga/far is not refreshed: PV pv[0-9]* is missing' /run/said)"
check missing.lv fb lvchange -y -an vga/far
same missing.lv.gone 0 "$(far)"
must lvchange -ay vga/far
check missing.vg fb vgchange -an vga
same missing.vg.gone 0 "$(far)"
# The same without a word of which disks there are, as LVM2's program.
must lvchange -ay vga/far
check missing.hidden as_lvm2 vgchange -an --config "devices { filter = [ \"r|$OTHER|\" ] }" vga
same missing.hidden.gone 0 "$(far)"

# What stands on devices of a kind that is not ours stays, with what it stands on, and is told.
STEP=alien
for lv in under alien; do must lvcreate -an -Zn -Wn -y -l 1 -n $lv vga; done
must vgcfgbackup -f /run/plain vga
awk '/^\t\talien \{/ { on = 1 } on && /"pv[0-9]+", [0-9]+/ { sub(/"pv[0-9]+", [0-9]+/, "\"under\", 0"); on = 0 } { print }' /run/plain >/run/stacked
must vgcfgrestore -f /run/stacked vga
uuid=LVM-$(lvs --noheadings -o vg_uuid,lv_uuid vga/alien | tr -d ' -')
must dmsetup create vga-alien -u "$uuid" --table "0 8192 zero"
up
fb vgchange -an vga >/run/said 2>&1
same alien 5 $?
same alien.words 1 "$(grep -c 'Logical volume vga/alien stays active: its segment type "striped over logical volumes"' /run/said)"
same alien.left vga-alien "$(dmsetup ls | grep vga- | cut -f1)"
must dmsetup remove vga-alien
check alien.gone fb vgchange -an vga

# Our engine merges an inactive volume while another of the VG is active: whoever else comes leaves its extents alone. A merge is over too
# soon here to be met, so the lower devices that it claims are made and held as it does that.
STEP=engine
must vgcfgrestore -f /run/plain vga
must lvremove -y vga/far vga/alien vga/under
must vgreduce vga "$OTHER"
must lvcreate -an -Zn -Wn -y -l 1 -n other vga
up
must lvcreate -s -c 4k -L 40m -n old vga/root
OLD=$(digest /dev/vga/old)
must "$XTASK" guest write /dev/vga/root random 4096 500 7
for device in vga-root-real vga-old-cow; do
	dmsetup table $device >/run/table.$device
	uuid_of $device >/run/uuid.$device
done
down
must lvchange -ay vga/other
for device in vga-root-real vga-old-cow; do
	must dmsetup create "$device" -u "$(cat /run/uuid.$device)" --table "$(cat /run/table.$device)"
done
exec 7</dev/mapper/vga-root-real 8</dev/mapper/vga-old-cow
state() { lvs -a --noheadings -o vg_seqno,lv_name,lv_size vga 2>/dev/null; }
before=$(state)
for change in 'lvremove -y vga/root' 'lvremove -y vga/old' 'lvreduce -y -L 20m vga/old' 'lvextend -L +4m vga/root' \
	'lvrename vga/root new' 'lvcreate -s -L 4m -n more vga/root'; do
	name=engine.$(echo "${change%% vga*}.${change##*/}" | tr -d ' ')
	# shellcheck disable=SC2086 # words
	if fb $change >/run/said 2>&1; then fail "$name" "$change was done"; else ok "$name"; fi
	grep -q 'Logical volume vga/[a-z]* in use' /run/said && ok "$name.words" || fail "$name.words" "$(cat /run/said)"
done
same engine.unchanged "$before" "$(state)"
# What nothing merges changes meanwhile.
check engine.other fb lvremove -y vga/other
exec 7<&- 8<&-
check engine.merged fb lvconvert --merge vga/old
up
same engine.content "$OLD" "$(digest /dev/vga/root)"
same engine.volumes root "$(lvs -a --noheadings -o lv_name vga | tr -d ' ')"
silent engine.vgck vgck vga
