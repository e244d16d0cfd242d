# The case `faults`: each write of the metadata fails, in the making of a snapshot and at the beginning and the
# end of every kind of merge, and data while the kernel or our engine merges.
# --- a snapshot of a mounted file system ----------------------------------------------------------------------------
writer root round
remember
metadata snap snap
spoil cow 2048 8 no-writes
fails snap.store-header 'preparing the new volume' 'nothing was changed' snap
spoil cow 2048 - error
fails snap.store-area 'preparing the new volume' 'nothing was changed' snap
spoil cow 0 - error
fails snap.missing 'cow\|missing' 'nothing was changed\|Cannot' snap
wrote root snap.writer
# The disk became shorter between the command's look and its change: its table is refused.
writer root round
behind_lock snap
spoil cow 4096 - missing
touch /run/go
if wait $_command; then fail snap.shorter "it went well"; else ok snap.shorter; fi
told snap.shorter 'vgf-s1' 'as it was\|nothing was'
is_old snap.shorter
check snap.again snap
wrote root snap.again.writer
running snap.again
echo new >/run/mnt/file
must dd if=/dev/urandom of=/run/mnt/big bs=1M count=2 conv=fsync

# --- a merge begins ------------------------------------------------------------------------------------------------
STEP=start
writer root round
remember
marks deferred merge
wrote root deferred.writer
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
must waits drained vgf-root
remember
metadata end fb finish
marks poll fb lvpoll vgf/s1
must mount /dev/vgf/root /run/mnt
writer root round
remember
marks end-mounted fb finish
marks foreground merge
wrote root end-mounted.writer
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
must waits drained vgf-root
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
marks keep keep
check keep.again keep
merged keep s1
check keep.rename fb lvrename vgf s1 root

# --- slow disks -----------------------------------------------------------------------------------------------------
STEP=slow
for pv in meta orig cow; do spoil $pv 0 - slow 30; done
must mount /dev/vgf/root /run/mnt
writer root round
check slow.snap snap
running slow.snap
check slow.deferred merge
running slow.deferred
wrote root slow.writer
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
