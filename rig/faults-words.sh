# The words of the cases `faults...`, and their disks. The VG vgf has three PVs, each a device of this script: meta holds the metadata
# and nothing else, orig the origin, cow the stores. Each can be made to fail, whole or in a range, at once or at a moment.
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
# spoil PV FROM LENGTH KIND [MORE]: that range fails from now on. Length - is to the end; what is missing is no disk any more.
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
		flaky) echo "$2 $_len flakey $_disk $2 0 60" ;;
		drop-writes) echo "$2 $_len flakey $_disk $2 0 60 1 drop_writes" ;;
		# MORE: which byte of each piece that is written, and what it becomes. (What is read stays as it is on this kernel.)
		corrupt) echo "$2 $_len flakey $_disk $2 0 60 5 corrupt_bio_byte ${5% *} w ${5#* } 0" ;;
		missing) ;;
		slow-reads) echo "$2 $_len delay $_disk $2 $5 $_disk $2 0" ;;
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
devices() { dmsetup ls | grep -o '^vgf[^[:space:]]*' | sort | tr '\n' ' '; }
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
# strikes NAME PHASES "PV RANGE KIND" COMMAND...: once these phases of the command are over another disk fails, and meta goes on.
# How the command ended is in STATUS.
strikes() {
	_strikes=$1 _phases=$2 _what=$3
	shift 3
	spoil meta 0 - slow 60000
	"$@" >/run/said 2>&1 &
	_command=$!
	step_to "$_phases" || fail "$_strikes.moment" "it never came: $(dmsetup status meta) $(tr '\n' ' ' </run/said)"
	# shellcheck disable=SC2086
	spoil $_what
	echo "0 $ON_META linear $SPARE 0" | put meta
	STATUS=0
	wait $_command || STATUS=$?
}
# struck NAME PHASES "PV RANGE KIND" WHY STATE COMMAND...: it fails so, and the old state is there.
struck() {
	_struck=$1 _why=$4 _state=$5
	_at=$2 _on=$3
	shift 5
	strikes "$_struck" "$_at" "$_on" "$@"
	if [ $STATUS -eq 0 ]; then fail "$_struck" "it went well: $(tr '\n' ' ' </run/said)"; else ok "$_struck"; fi
	told "$_struck" "$_why" "$_state"
	is_old "$_struck"
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
# What uses the file system all the while. It leaves the one CPU to others for a moment.
round() { dd if=/dev/urandom of=/run/mnt/w$(($1 % 4)) bs=64k count=2 conv=fsync && sleep 0.1; }
target() { dmsetup status "$1" 2>/dev/null | cut -d' ' -f3; }
clean() { same "$1.kernel" "" "$(dmesg | grep -E 'BUG:|WARNING:|Oops' | head -n 3)"; }

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
# marks NAME COMMAND...: the first and the last write of the metadata fail.
marks() {
	_marks=$1
	shift
	spoil meta $TEXT no-writes
	fails "$_marks.text" "writing a VG's text" 'the VG is unchanged' "$@"
	fails_at "$_marks.commit" wfwf "$HEADER no-writes" 'the metadata header of' "$EITHER" "$@"
}
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
	same "$1.devices" "vgf-${2:-root} " "$(devices)"
}
snap() { fb lvcreate -s -c 4k -L 16m -n s1 vgf/root /dev/mapper/cow; }
merge() { fb lvconvert --merge vgf/s1; }
keep() { fb lvconvert --merge --namesnapshot vgf/s1; }
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
# Nothing is written but what is asked for.
must mke2fs -q -t ext4 -E lazy_itable_init=0,lazy_journal_init=0 /dev/vgf/root
must mount /dev/vgf/root /run/mnt
echo old >/run/mnt/file

