# The case `faults-switch`: merges that keep the snapshot's name, were deferred, or wait for an activation. Data fails
# as the devices are switched, right after it, and at the end, with what stays mounted mounted. The one store is the first on cow:
# its header at 2048, area 0 behind it, in chunks of 4 KiB; root is 32 MiB from 2048 on orig.
ORIG_END="orig $((2048 + 65536 - 8)) - missing"
# No file system writes there.
ORIG_LATE="orig $((2048 + 57344)) 8192"
lvs_now() { lvs -a --noheadings --separator ' ' -o lv_name,lv_attr vgf 2>/dev/null | sed 's/^ *//; s/\( ...\).*/\1/' | sort | tr '\n' ' '; }
refresh() { fb lvchange --refresh "vgf/$1"; }
up() { fb lvchange -ay vgf/root; }
# stands NAME DEVICE VOLUMES: the last command left a merge that has begun and stands.
stands() {
	if [ "$STATUS" -ne 0 ]; then ok "$1"; else fail "$1" "it went well: $(tr '\n' ' ' </run/said)"; fi
	told "$1" 'Merge failed' 'nobody uses the origin, the same command goes on'
	running "$1"
	same "$1.target" snapshot-merge "$(target "$2")"
	heal
	same "$1.volumes" "$3" "$(lvs_now)"
}
# unfollowed NAME LV COMMAND...: it ends a merge, and the origin's device cannot follow: its disk became shorter meanwhile.
unfollowed() {
	_unfollowed=$1 _lv=$2
	shift 2
	strikes "$_unfollowed" wf "$ORIG_END" "$@"
	same "$_unfollowed" 0 $STATUS
	told "$_unfollowed" 'The end of the merge is committed, but not all devices followed' 'lvchange --refresh vgf/'
	running "$_unfollowed"
	heal
	same "$_unfollowed.volumes" "$_lv -wi " "$(lvs_now)"
	check "$_unfollowed.refresh" refresh "$_lv"
	running "$_unfollowed.refresh"
	same "$_unfollowed.target" linear "$(target "vgf-$_lv")"
	same "$_unfollowed.devices" "vgf-$_lv " "$(devices)"
}

# --- the snapshot's name stays, and it is mounted --------------------------------------------------------------------
STEP=keep
must dd if=/dev/urandom of=/run/mnt/big bs=1M count=8 conv=fsync
big=$(digest /run/mnt/big)
umount /run/mnt
fresh s1 21
must mount /dev/vgf/s1 /run/mnt
writer s1 round
remember
struck keep.header wf "cow 2048 8 error" 'loading a table into vgf-s1' 'nothing was changed' keep
struck keep.header-flaky wf "cow 2048 8 flaky" 'loading a table into vgf-s1' 'nothing was changed' keep
struck keep.store-missing wf "cow $((2048 + 32768 - 8)) - missing" 'loading a table into vgf-root-cow' 'nothing was changed' keep
struck keep.origin-missing wf "$ORIG_END" 'loading a table into vgf-s1-real' 'nothing was changed' keep
wrote s1 keep.writer
# Whoever writes needs the area, so that nobody does.
sync
struck keep.area wf "cow 2056 8 error" 'loading a table into vgf-s1' 'nothing was changed' keep
struck keep.area-flaky wf "cow 2056 8 flaky" 'loading a table into vgf-s1' 'nothing was changed' keep
writer s1 round
# A place that fails, without the flushes of the file system.
strikes keep.merge wfwfw "$ORIG_LATE error" keep
stands keep.merge vgf-s1 "[root] Swi s1 Owi "
wrote s1 keep.merge.writer
must umount /run/mnt
check keep.merge.again keep
running keep.merge.again
same keep.merge.again.volumes "s1 -wi " "$(lvs_now)"
same keep.merge.again.devices "vgf-s1 " "$(devices)"
check keep.merge.fsck e2fsck -fn /dev/vgf/s1
must fb lvrename vgf s1 root

# Its end.
fresh s1 22
must mount /dev/vgf/s1 /run/mnt
same keep.big "$big" "$(digest /run/mnt/big)"
# The merge lasts until the command is gone.
spoil cow 2048 - slow 2000
"$FOLDBACK" lvconvert --merge --namesnapshot vgf/s1 >/run/said 2>&1 &
command=$!
must waits grep -q started /run/said
kill -9 $command
heal
must waits drained vgf-s1
writer s1 round
remember
marks keep.end keep
marks keep.end.finish fb finish
unfollowed keep.end.table s1 fb finish
wrote s1 keep.end.writer
must umount /run/mnt
check keep.end.fsck e2fsck -fn /dev/vgf/s1
must mount /dev/vgf/s1 /run/mnt
same keep.end.big "$big" "$(digest /run/mnt/big)"
must umount /run/mnt
must fb lvrename vgf s1 root
clean keep

# --- deferred, with the origin open or the snapshot --------------------------------------------------------------------
STEP=deferred
for open in root s1; do
	fresh s1 23
	exec 9<"/dev/vgf/$open"
	check deferred.$open.mark merge
	exec 9<&-
	remember
	spoil cow 2048 8 flaky
	fails deferred.$open.store 'checking the store of s1' 'nothing was changed' refresh root
	marks deferred.$open.refresh refresh root
	# What was marked begins with the same command, too.
	if [ $open = s1 ]; then
		strikes deferred.s1.merge wfwfw "orig 2048 - flaky" merge
		stands deferred.s1.merge vgf-root "[s1] Swi root Owi "
		check deferred.s1.again merge
		merged deferred.s1.again
		continue
	fi
	# The merging table is not made out of the store's header, which lives in the old one.
	strikes deferred.root.header wf "cow 2048 8 error" refresh root
	same deferred.root.header 0 $STATUS
	running deferred.root.header
	heal
	check deferred.root.finish fb finish
	merged deferred.root.finish
done
clean deferred

# --- at the next activation --------------------------------------------------------------------------------------------
STEP=onactivate
fresh s1 24
check onactivate.mark fb lvconvert --merge --onactivate vgf/s1
must lvchange -an vgf/root
volumes=$(volumes)
for kind in error flaky; do
	for at in 2048 2056; do
		spoil cow $at 8 $kind
		if up >/run/said 2>&1; then fail onactivate.$kind.$at "it went well"; else ok onactivate.$kind.$at; fi
		told onactivate.$kind.$at 'vgf/root remains inactive' 'checking the store of s1'
		same onactivate.$kind.$at.devices "" "$(devices)"
		heal
		same onactivate.$kind.$at.volumes "$volumes" "$(volumes)"
	done
done
# It comes up, and the first that the merge does to the origin fails.
rm -f /run/foldback/daemon.log
spoil orig 2048 - flaky
check onactivate.up up
check onactivate.logged waits grep -q 'Merge failed' /run/foldback/daemon.log
running onactivate.up
same onactivate.target snapshot-merge "$(target vgf-root)"
heal
check onactivate.finish fb finish
fact onactivate.finish "$(tr '\n' ' ' </run/out)"
merged onactivate.finish

# Its end, with the origin mounted. Nothing is written, so that the content can be compared.
fresh s1 25
check end.mark fb lvconvert --merge --onactivate vgf/s1
must lvchange -an vgf/root
check end.up fb lvchange -ay --poll n vgf/root
must waits drained vgf-root
must mount -o ro,noload /dev/vgf/root /run/mnt
remember
marks end fb finish
# Nothing of the store is needed any more.
strikes end.table wf "$ORIG_END" fb lvpoll vgf/s1
heal
unfollowed_is_told=$(grep -c 'not all devices followed' /run/said)
same end.table.told 1 "$unfollowed_is_told"
running end.table
check end.refresh refresh root
same end.big "$big" "$(digest /run/mnt/big)"
must umount /run/mnt
merged end
fresh s1 26
check end.store.mark fb lvconvert --merge --onactivate vgf/s1
must lvchange -an vgf/root
check end.store.up fb lvchange -ay --poll n vgf/root
must waits drained vgf-root
strikes end.store wf "cow 2048 - error" fb finish
same end.store 0 $STATUS
heal
merged end.store
must vgchange -an vgf
clean switch
