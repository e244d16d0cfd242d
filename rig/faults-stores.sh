# The case `faults-stores`: stores. Another snapshot's store that fails while a merge copies into it, by our engine and by
# the kernel; stores that read other than they were written; a snapshot that only the kernel knows is lost; and two metadata areas.
# Stores are first on cow: that of s1 at 2048, with chunks of 4 KiB; then that of s2, with chunks of 8 KiB.
umount /run/mnt
S2=$((2048 + 32768))
attr() { lvs --noheadings -o lv_attr "vgf/$1" | tr -d ' ' | cut -c1-5; }
names() { lvs -a --noheadings -o lv_name vgf | tr -d ' ' | sort | tr '\n' ' '; }
premerge() { fb premerge vgf; }
up() { fb lvchange -ay vgf/root; }
# two SEED: s1, what changed since, s2, what changed since: a merge of s1 copies out to s2. HELD is what s2 holds, WANTED s1.
two() {
	fresh s1 "$1"
	must lvcreate -s -c 8k -L 16m -n s2 vgf/root /dev/mapper/cow
	HELD=$(digest /dev/vgf/root)
	must "$XTASK" guest write /dev/vgf/root random 4096 60 $(($1 + 1))
}
# both NAME: nothing of the merge of s1 is left but its result, and s2 holds what it held.
both() {
	running "$1"
	same "$1.content" "$WANTED" "$(digest /dev/vgf/root)"
	same "$1.held" "$HELD" "$(digest /dev/vgf/s2)"
	same "$1.names" "root s2 " "$(names)"
}

# --- our engine copies out to s2 -----------------------------------------------------------------------------------------
# It is the merge that fails, and s2 stays what it is (I3).
STEP=others
n=30
for where in data.error.merge area.error.premerge all.no-writes.merge ${LONG:+data.no-writes.premerge area.no-writes.merge all.error.premerge}; do
	n=$((n + 2))
	two $n
	must lvchange -an vgf/root
	command=${where##*.} what=${where%.*}
	[ "$command" = merge ] || check others.$where.mark fb lvconvert --merge --onactivate vgf/s1
	# Its first read of the origin waits, which is what it copies out.
	spoil orig 2048 - slow-reads 60000
	$command >/run/said 2>&1 &
	pid=$!
	waits sh -c 'dmsetup status orig | grep -q "delay [1-9]"' || fail others.$where.moment "it never came: $(tr '\n' ' ' </run/said)"
	# The store holds 60 chunks or less: what is copied out goes behind them.
	case $what in
	data.*) spoil cow $((S2 + 80 * 16)) $((32768 - 80 * 16)) "${what#*.}" ;;
	area.*) spoil cow $((S2 + 16)) 16 "${what#*.}" ;;
	all.*) spoil cow $S2 32768 "${what#*.}" ;;
	esac
	echo "0 $ON_ORIG linear $DISK 0" | put orig
	STATUS=0
	wait $pid || STATUS=$?
	if [ "$STATUS" -ne 0 ]; then ok others.$where; else fail others.$where "it went well: $(tr '\n' ' ' </run/said)"; fi
	told others.$where 'Input/output error' 'the same command goes on'
	same others.$where.devices "" "$(devices)"
	heal
	check others.$where.again $command
	must lvchange -ay vgf/root
	both others.$where
	must lvremove -y vgf/s2
done
# Where its disk stays as it is, s2 is given up by whoever says so.
two 50
must lvchange -an vgf/root
spoil cow $S2 32768 error
if merge >/run/said 2>&1; then fail others.given-up "it went well"; else ok others.given-up; fi
told others.given-up 'checking the store of s2' 'nothing was changed'
check others.given-up.remove fb lvremove -y vgf/s2
check others.given-up.again merge
heal
must lvchange -ay vgf/root
merged others.given-up
clean others

# --- the kernel copies out to s2 -------------------------------------------------------------------------------------------
# It gives s2 up and goes on. It could not write that down: Foldback does, once nobody uses the store any more.
STEP=lost
two 52
spoil cow $S2 32768 no-writes
check lost.merge merge
heal
same lost.content "$WANTED" "$(digest /dev/vgf/root)"
same lost.there Invalid "$(dmsetup status vgf-s2 | cut -d' ' -f4)"
same lost.attr swi-I "$(attr s2)"
check lost.down fb lvchange -an vgf/root
must lvchange -ay vgf/root
same lost.still Invalid "$(dmsetup status vgf-s2 | cut -d' ' -f4)"
same lost.still.attr swi-I "$(attr s2)"
must lvremove -y vgf/s2
clean lost

# --- stores that read other than they were written ---------------------------------------------------------------------
# A disk that writes something else, or nothing, while a store is made, where another one was before.
STEP=corrupt
two 53
must lvremove -y vgf/s1 vgf/s2
remember
spoil cow 2048 8 corrupt "1 88"
fails corrupt.made 'does not read as it was written' 'nothing was changed' snap
spoil cow 2048 16 drop-writes
fails corrupt.dropped 'does not read as it was written' 'nothing was changed' snap
# While it is used: of the first record the highest byte of where its data is. The kernel does not notice, and would follow it.
two 54
must lvremove -y vgf/s1
spoil cow $((S2 + 16)) 16 corrupt "16 255"
must "$XTASK" guest write /dev/vgf/root random 4096 10 56
heal
must lvchange -an vgf/root
# distrusted NAME: the store of s2 is followed by nobody.
distrusted() {
	_volumes=$(volumes)
	for _how in up 'fb lvconvert --merge vgf/s2'; do
		if $_how >/run/said 2>&1; then fail "$1" "it went well: $(tr '\n' ' ' </run/said)"; else ok "$1"; fi
		told "$1" 'the exception store of vgf/s2 is damaged' 'check vgf/s2'
		same "$1.devices" "" "$(devices)"
		same "$1.volumes" "$_volumes" "$(volumes)"
	done
}
distrusted corrupt.area
# A machine that boots needs its origin, and a snapshot that does not merge cannot spoil it.
check corrupt.boots fb vgchange -aay vgf
grep -q 'vgf/root comes up, and vgf/s2 shows wrong data' /run/out && ok corrupt.boots.said || fail corrupt.boots.said "$(cat /run/out)"
same corrupt.boots.root yes "$(test -b /dev/vgf/root && echo yes || echo no)"
must lvchange -an vgf/root
# poke AT BYTE: one byte of cow.
poke() { printf '%b' "$2" | dd of=/dev/mapper/cow bs=1 seek="$1" conv=notrunc,fsync 2>/run/err || fail "$STEP" "$(cat /run/err)"; }
poke $(((S2 + 16) * 512 + 15)) '\0'
check corrupt.area.up up
same corrupt.area.held "$HELD" "$(digest /dev/vgf/s2)"
must lvchange -an vgf/root
# The magic number.
poke $((S2 * 512)) 'X'
distrusted corrupt.header
check corrupt.remove fb lvremove -y vgf/s2
check corrupt.up up
clean corrupt

# --- two metadata areas ------------------------------------------------------------------------------------------------
STEP=areas
must vgchange -an vgf
must vgremove -ff -y vgf
must pvcreate -ff -y /dev/mapper/meta
must pvcreate -ff -y /dev/mapper/cow
must vgcreate vgf /dev/mapper/meta /dev/mapper/orig /dev/mapper/cow
must lvcreate -y -L 32m -n root vgf /dev/mapper/orig
must mke2fs -q -t ext4 /dev/vgf/root
must mount /dev/vgf/root /run/mnt
writer root round
remember
# Before the commit one area that fails is enough. What is cow's fails once that of meta is written.
struck areas.text w "cow 9 2039 error" "writing a VG's text" 'the VG is unchanged' snap
struck areas.precommit wf "cow $HEADER error" 'precommitting a VG' 'the VG is unchanged' snap
# The commit is what reaches one of them; the other is told, and put right by the next change.
for area in cow.error cow.no-writes meta.no-writes; do
	case $area in
	cow.error) strikes areas.$area wfwf "cow $HEADER error" snap ;;
	cow.no-writes) strikes areas.$area wfwfw "cow $HEADER no-writes" snap ;;
	meta.no-writes)
		spoil meta 0 - slow 60000
		snap >/run/said 2>&1 &
		_command=$!
		step_to wfwf || fail areas.$area.moment "it never came"
		# shellcheck disable=SC2086
		spoil meta $HEADER no-writes
		STATUS=0
		wait $_command || STATUS=$?
		;;
	esac
	same areas.$area 0 $STATUS
	told areas.$area "/dev/mapper/${area%.*}" 'put right by the next change'
	running areas.$area
	heal
	same areas.$area.names "root s1 " "$(names)"
	same areas.$area.target snapshot "$(target vgf-s1)"
	check areas.$area.next fb lvremove -y vgf/s1
	silent areas.$area.vgck vgck vgf
	same areas.$area.gone "root " "$(names)"
done
wrote root areas.writer
must umount /run/mnt
must vgchange -an vgf
clean areas
