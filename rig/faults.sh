# Disks that fail below live volumes. The VG vgf has three PVs, each a device of this script: meta holds the metadata and
# nothing else, orig the origin, cow the stores. Each can be made to fail, whole or in a range, at once or at a moment.
# After every failure: told what failed and which state is there, nothing suspended, tables of the old state (or the new),
# LVM2 agrees once the disk works again, and the same command then succeeds.
STEP=faults
fb() { "$FOLDBACK" "$@"; }
export FOLDBACK_DEVICES=/dev/mapper/meta,/dev/mapper/orig,/dev/mapper/cow

# The disk behind a PV.
disk_of() { case $1 in meta) echo "$SPARE" ;; orig) echo "$DISK" ;; cow) echo "$OTHER" ;; esac; }
ON_META=$(blockdev --getsz "$SPARE") ON_ORIG=$(blockdev --getsz "$DISK") ON_COW=$(blockdev --getsz "$OTHER")
sectors() { case $1 in meta) echo "$ON_META" ;; orig) echo "$ON_ORIG" ;; cow) echo "$ON_COW" ;; esac; }
SPOILT=
# put PV: the table on standard input becomes live; the resume suspends before it.
put() { dmsetup load "$1" && dmsetup resume "$1"; }
heal() {
	for _pv in $(echo "$SPOILT" | tr ' ' '\n' | sort -u); do
		echo "0 $(sectors "$_pv") linear $(disk_of "$_pv") 0" | put "$_pv" || fail "$STEP" "healing $_pv"
	done
	SPOILT=
}
# spoil PV FROM LENGTH KIND: that range fails from now on. Length - is to the end.
spoil() {
	SPOILT="$SPOILT $1"
	_disk=$(disk_of "$1")
	_all=$(sectors "$1")
	_len=$3
	[ "$_len" = - ] && _len=$((_all - $2))
	_end=$(($2 + _len))
	{
		[ "$2" -eq 0 ] || echo "0 $2 linear $_disk 0"
		case $4 in
		error) echo "$2 $_len error" ;;
		no-writes) echo "$2 $_len flakey $_disk $2 0 60 1 error_writes" ;;
		slow) echo "$2 $_len delay $_disk $2 0 $_disk $2 $5 $_disk $2 $5" ;;
		esac
		[ $_end -eq "$_all" ] || echo "$_end $((_all - _end)) linear $_disk $_end"
	} | put "$1" || fail "$STEP" "spoiling $1"
}
# Where things are on meta: the header of the metadata area is sector 8, the texts are behind it.
TEXT="9 -"
HEADER="8 1"

# Every device and its table, with names for numbers; what LVM2 says of the VG.
tables() {
	dmsetup info -c --noheadings --separator ' ' -o name,attr | grep '^vgf' | sort
	dmsetup table | grep '^vgf' | sort >/run/tables
	dmsetup info -c --noheadings --separator ' ' -o major,minor,name | while read -r major minor name; do
		sed -i "s, $major:$minor , $name ,g; s, $major:$minor\$, $name," /run/tables
	done
	cat /run/tables
}
volumes() { lvs -a --noheadings --separator ' ' -o lv_name,lv_attr,lv_size,origin,seg_type,devices vgf 2>&1 | sed 's/^ *//; s/ *$//' | sort; }
running() { same "$1.running" "" "$(dmsetup info -c --noheadings -o name,suspended | grep -i suspended)"; }
told() { # NAME WORDS...: the last command said each
	_told=$1
	fact "$1" "$(tr '\n' ' ' </run/said)"
	shift
	for _words in "$@"; do
		if grep -q "$_words" /run/said; then ok "$_told.told"; else fail "$_told.told" "not '$_words': $(tr '\n' ' ' </run/said)"; fi
	done
}
# remember: what is there now is the old state.
remember() {
	OLD_TABLES=$(tables)
	OLD_VOLUMES=$(volumes)
}
# is_old NAME: after a failure, the disks as they are now, then healed.
is_old() {
	running "$1"
	same "$1.old-tables" "$OLD_TABLES" "$(tables)"
	heal
	same "$1.old-volumes" "$OLD_VOLUMES" "$(volumes)"
}
# fails NAME WORDS STATE COMMAND...: it fails, says why and which state is there, and the old state is there.
fails() {
	_fails=$1 _why=$2 _state=$3
	shift 3
	if "$@" >/run/said 2>&1; then fail "$_fails" "it went well: $(tr '\n' ' ' </run/said)"; else ok "$_fails"; fi
	told "$_fails" "$_why" "$_state"
	is_old "$_fails"
}
# What of meta waits in its delay: w a write, f a flush, nothing.
pending() {
	case $(dmsetup status meta) in
	*'delay 0 0 0') ;;
	*'delay 0 0 '*) echo f ;;
	*) echo w ;;
	esac
}
# step_to w|f...: lets the command's writes and flushes of the metadata go one by one until the last of these waits. Whatever
# waits in a delay goes as soon as its table is replaced.
step_to() {
	_n=0
	for _phase in $(echo "$1" | sed 's/./& /g'); do
		[ $_n -eq 0 ] || spoil meta 0 - slow 60000
		until _pending=$(pending) && [ "$_pending" = "$_phase" ]; do
			[ -z "$_pending" ] || spoil meta 0 - slow 60000
			_n=$((_n + 1))
			[ $_n -lt 300 ] && kill -0 $_command 2>/dev/null || return 1
		done
		_n=1
	done
}
# fails_at NAME PHASES RANGE WHY STATE COMMAND...: as `fails`, and the range of meta fails once these phases of the command
# are over. Its first write is a text, then flush, header, flush, and the header that commits.
fails_at() {
	_fails=$1 _phases=$2 _range=$3 _why=$4 _state=$5
	shift 5
	spoil meta 0 - slow 60000
	"$@" >/run/said 2>&1 &
	_command=$!
	step_to "$_phases" || fail "$_fails.moment" "it never came: $(dmsetup status meta) $(tr '\n' ' ' </run/said)"
	# shellcheck disable=SC2086
	spoil meta $_range
	if wait $_command; then fail "$_fails" "it went well: $(tr '\n' ' ' </run/said)"; else ok "$_fails"; fi
	told "$_fails" "$_why" "$_state"
	is_old "$_fails"
}
# behind_lock COMMAND...: starts it while the VG is locked, so that it has looked at the disks before they fail, and returns
# when it waits for the lock, until /run/go is there.
VG_LOCK=/run/lock/lvm/V_vgf
is_locked() { ! flock -n -x $VG_LOCK true; }
behind_lock() {
	rm -f /run/go
	flock -x $VG_LOCK sh -c 'until [ -e /run/go ]; do sleep 0.1; done' &
	must waits is_locked
	"$@" >/run/said 2>&1 &
	_command=$!
	must waits grep -q -e '->' /proc/locks
}
writer() {
	rm -f /run/stop /run/wrote /run/writer.err
	(
		n=0
		while [ ! -e /run/stop ]; do
			n=$((n + 1))
			dd if=/dev/urandom of=/run/mnt/w$((n % 4)) bs=64k count=2 conv=fsync 2>/run/writer.err || break
			echo $n >/run/wrote.new && mv /run/wrote.new /run/wrote
			sleep 0.1 # there is one CPU
		done
	) &
	writer=$!
	sleep 0.5
}
wrote() { # NAME: the writer has gone on until now, without an error
	before=$(cat /run/wrote)
	sleep 0.5
	touch /run/stop
	wait "$writer"
	if [ "$(cat /run/wrote)" -gt "$before" ] && grep -q copied /run/writer.err; then
		ok "$1"
	else
		fail "$1" "stopped at $before: $(tr '\n' ' ' </run/writer.err)"
	fi
}
waits() {
	_n=0
	until "$@" >/dev/null 2>&1; do
		_n=$((_n + 1))
		[ $_n -lt 200 ] || return 1
		sleep 0.1
	done
}
drained() { dmsetup status vgf-root | grep -q ' \([0-9]*\)/[0-9]* \1$'; }
no_snap() { ! lvs -a --noheadings -o lv_name vgf | grep -q "$1"; }
target() { dmsetup status "$1" 2>/dev/null | cut -d' ' -f3; }
clean() { same "$1.kernel" "" "$(dmesg | grep -E 'BUG:|WARNING:|Oops' | head -n 3)"; }

must insmod "$_modules/dm-flakey.ko"
for pv in meta orig cow; do must dmsetup create $pv --table "0 $(sectors $pv) linear $(disk_of $pv) 0"; done
mkdir -p /run/lvm-three /run/mnt /run/lock/lvm
sed "s,\^/dev/ubd.a-p..,^/dev/mapper/(meta|orig|cow)\$," "$SCRATCH/lvm/lvm.conf" >/run/lvm-three/lvm.conf
export LVM_SYSTEM_DIR=/run/lvm-three
must pvcreate /dev/mapper/meta
must pvcreate --metadatacopies 0 /dev/mapper/orig
must pvcreate --metadatacopies 0 /dev/mapper/cow
must vgcreate vgf /dev/mapper/meta /dev/mapper/orig /dev/mapper/cow
must lvcreate -an -Zn -L 32m -n root vgf /dev/mapper/orig
must lvchange -ay vgf/root
must mke2fs -q -t ext4 /dev/vgf/root
must mount /dev/vgf/root /run/mnt
echo old >/run/mnt/file

# --- a snapshot of a mounted file system ----------------------------------------------------------------------------
snap() { fb lvcreate -s -c 4k -L 16m -n s1 vgf/root /dev/mapper/cow; }
EITHER='reads as either old or new, and its devices have their old tables'
# metadata NAME COMMAND...: each write of the metadata fails in turn.
metadata() {
	_metadata=$1
	shift
	spoil meta $TEXT no-writes
	fails "$_metadata.text" "writing a VG's text" 'the VG is unchanged' "$@"
	spoil meta $HEADER no-writes
	fails "$_metadata.text-flush" "making a VG's text durable" 'the VG is unchanged' "$@"
	fails_at "$_metadata.precommit" wf "$HEADER error" 'precommitting a VG' 'the VG is unchanged' "$@"
	fails_at "$_metadata.precommit-flush" wfw "$HEADER no-writes" 'precommitting a VG' 'the VG is unchanged' "$@"
	fails_at "$_metadata.before-commit" wfwf "$HEADER error" 'the metadata header of' 'nothing was changed' "$@"
	fails_at "$_metadata.commit" wfwf "$HEADER no-writes" 'the metadata header of' "$EITHER" "$@"
}
writer
remember
metadata snap snap
spoil cow 2048 8 no-writes
fails snap.store-header 'preparing the new volume' 'nothing was changed' snap
spoil cow 2048 - error
fails snap.store-area 'preparing the new volume' 'nothing was changed' snap
spoil cow 0 - error
fails snap.missing 'cow\|missing' 'nothing was changed\|Cannot' snap
wrote snap.writer
# The disk became shorter between the command's look and its change: its table is refused.
writer
behind_lock snap
SPOILT=cow
echo "0 4096 linear $OTHER 0" | put cow
touch /run/go
if wait $_command; then fail snap.shorter "it went well"; else ok snap.shorter; fi
told snap.shorter 'vgf-s1' 'as it was\|nothing was'
is_old snap.shorter
check snap.again snap
wrote snap.again.writer
running snap.again
echo new >/run/mnt/file
must dd if=/dev/urandom of=/run/mnt/big bs=1M count=2 conv=fsync

# --- a merge begins ------------------------------------------------------------------------------------------------
STEP=start
merge() { fb lvconvert --merge vgf/s1; }
# marks NAME COMMAND...: the first and the last write of the metadata fail.
marks() {
	_marks=$1
	shift
	spoil meta $TEXT no-writes
	fails "$_marks.text" "writing a VG's text" 'the VG is unchanged' "$@"
	fails_at "$_marks.commit" wfwf "$HEADER no-writes" 'the metadata header of' "$EITHER" "$@"
}
writer
remember
marks deferred merge
wrote deferred.writer
check deferred.again merge
check deferred.cancel fb lvconvert --cancel vgf/s1
marks onactivate fb lvconvert --merge --onactivate vgf/s1
umount /run/mnt
wanted=$(digest /dev/vgf/s1)
remember
metadata start merge
spoil cow 2048 - error
fails start.store "checking the store of s1" "nothing was changed" merge
# A snapshot whose store has failed is lost, though its disk, which works again, does not say so: the kernel could not write
# it there. What was written to the origin meanwhile was not copied out.
spoil cow 2048 - no-writes
must "$XTASK" guest write /dev/vgf/root random 4096 60 4
heal
same lost.there Invalid "$(dmsetup status vgf-s1 | cut -d' ' -f4)"
remember
fails lost 'Unable to merge invalidated snapshot LV vgf/s1' 'remove it' merge
fails lost.onactivate 'Unable to merge invalidated snapshot LV vgf/s1' 'remove it' fb lvconvert --merge --onactivate vgf/s1
check lost.remove fb lvremove -y vgf/s1

# fresh NAME SEED: a snapshot of root, which is written to after it; WANTED is what root has to become.
fresh() {
	must lvcreate -s -c 4k -L 16m -n "$1" vgf/root /dev/mapper/cow
	WANTED=$(digest /dev/vgf/root)
	must "$XTASK" guest write /dev/vgf/root random 4096 120 "$2"
}
# merged NAME [LV]: nothing is left of the merge but its result.
merged() {
	running "$1"
	same "$1.content" "$WANTED" "$(digest "/dev/vgf/${2:-root}")"
	same "$1.volumes" "${2:-root} " "$(lvs -a --noheadings -o lv_name vgf | tr -d ' ' | tr '\n' ' ')"
	same "$1.target" linear "$(target "vgf-${2:-root}")"
}
# The kernel's merge meets a bad place: the state is the new one, merging, and the same command goes on.
STEP=merging
for where in store-reads origin-writes; do
	fresh s1 5
	case $where in
	store-reads) spoil cow $((2048 + 256)) 64 error ;;
	origin-writes) spoil orig $((2048 + 32768)) - no-writes ;;
	esac
	if merge >/run/said 2>&1; then fail merging.$where "it went well"; else ok merging.$where; fi
	told merging.$where 'Merge failed' 'nobody uses the origin, the same command goes on'
	running merging.$where
	same merging.$where.target snapshot-merge "$(target vgf-root)"
	heal
	same merging.$where.volumes "[s1] Swi root Owi" "$(lvs -a --noheadings --separator ' ' -o lv_name,lv_attr vgf 2>&1 | sed 's/^ *//; s/\( ...\).*/\1/' | sort | tr '\n' ' ' | sed 's/ $//')"
	check merging.$where.again merge
	merged merging.$where.again
done
clean merging

# --- a merge ends ---------------------------------------------------------------------------------------------------
STEP=end
fresh s1 6
must lvchange -an vgf/root
check end.mark fb lvconvert --merge --onactivate vgf/s1
must lvchange -ay --poll n vgf/root
must waits drained
remember
metadata end fb finish
marks poll fb lvpoll vgf/s1
must mount /dev/vgf/root /run/mnt
writer
remember
marks end-mounted fb finish
marks foreground merge
wrote end-mounted.writer
must umount /run/mnt
check end.again fb finish
running end.again
same end.volumes "root " "$(lvs -a --noheadings -o lv_name vgf | tr -d ' ' | tr '\n' ' ')"
same end.target linear "$(target vgf-root)"
check end.fsck e2fsck -fn /dev/vgf/root

# In the background nobody listens: the log has it, and `finish` ends it later.
STEP=background
fresh s1 7
spoil cow 2048 - slow 10
rm -f /run/foldback/daemon.log
check background fb lvconvert --merge -b vgf/s1
# shellcheck disable=SC2086
spoil meta $TEXT no-writes
must waits drained
must waits sh -c '! pgrep -f "^foldback lvpoll"'
cp /run/foldback/daemon.log /run/said
told background "writing a VG's text" 'the VG is unchanged'
running background
same background.target snapshot-merge "$(target vgf-root)"
heal
check background.again fb finish vgf
merged background

# --- the snapshot's name stays --------------------------------------------------------------------------------------
STEP=keep
fresh s1 8
remember
keep() { fb lvconvert --merge --namesnapshot vgf/s1; }
marks keep keep
check keep.again keep
merged keep s1
check keep.rename fb lvrename vgf s1 root

# --- slow disks -----------------------------------------------------------------------------------------------------
STEP=slow
for pv in meta orig cow; do spoil $pv 0 - slow 30; done
must mount /dev/vgf/root /run/mnt
writer
check slow.snap snap
running slow.snap
check slow.deferred merge
running slow.deferred
wrote slow.writer
umount /run/mnt
check slow.refresh fb lvchange --refresh vgf/root
check slow.finish fb finish
running slow
heal
check slow.fsck e2fsck -fn /dev/vgf/root
same slow.volumes "root " "$(lvs -a --noheadings -o lv_name vgf | tr -d ' ' | tr '\n' ' ')"
clean slow

# --- our engine, with nothing active --------------------------------------------------------------------------------
STEP=inactive
must lvcreate -s -c 8k -L 16m -n s2 vgf/root /dev/mapper/cow
must "$XTASK" guest write /dev/vgf/root random 4096 100 9
fresh s1 10
other=$(digest /dev/vgf/s2)
must lvchange -an vgf/root
for where in store-reads origin-writes origin-reads store-writes; do
	case $where in
	# s2 is first on cow: the store of s1 is behind its 16 MiB.
	store-reads) spoil cow $((2048 + 32768 + 256)) 64 error ;;
	store-writes) spoil cow $((2048 + 32768)) 4096 no-writes ;;
	origin-writes) spoil orig $((2048 + 32768)) - no-writes ;;
	origin-reads) spoil orig $((2048 + 16384)) 4096 error ;;
	esac
	if merge >/run/said 2>&1; then fail inactive.$where "it went well"; else ok inactive.$where; fi
	told inactive.$where 'Input/output error' 'the same command goes on'
	running inactive.$where
	same inactive.$where.devices "" "$(dmsetup ls | grep ^vgf)"
	heal
done
spoil orig 2048 - slow 1500
merge >/run/said 2>&1 &
command=$!
must waits dmsetup info vgf-root-real
# shellcheck disable=SC2086
spoil meta $TEXT no-writes
if wait $command; then fail inactive.end "it went well"; else ok inactive.end; fi
told inactive.end "writing a VG's text" 'the VG is unchanged'
same inactive.end.devices "" "$(dmsetup ls | grep ^vgf)"
heal
check inactive.again fb premerge vgf
must lvchange -ay vgf/root
same inactive.content "$WANTED" "$(digest /dev/vgf/root)"
same inactive.other "$other" "$(digest /dev/vgf/s2)"
same inactive.volumes "root s2 " "$(lvs -a --noheadings -o lv_name vgf | tr -d ' ' | tr '\n' ' ')"
silent vgck vgck vgf
must vgchange -an vgf
clean end
