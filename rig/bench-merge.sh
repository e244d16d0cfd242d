# Merges vgb/snap on $KERNEL by the kernel and on $OTHER by Foldback, in the order of $ORDER, both on the same kind of disk:
# plain, or with every flush $DELAY ms slower. Told: seconds, and flushes of the disk.
#
# The kernel's time runs from the start of lvconvert until its store is empty, seen twice a second; LVM2's own polling
# would cost the guest's one processor more than the merge does. Foldback's is the time of its whole command.
STEP=merge
now() { date +%s%N; }
flushes() { awk '{ print $16 }' "/sys/block/${1##*/}/stat"; }
left() {
	_status=$(dmsetup status vgb-origin | cut -d' ' -f4-)
	[ "${_status%%/*}" != "${_status##* }" ]
}

by_kernel() {
	must vgchange -ay --poll n vgb
	start=$(now)
	must lvconvert --merge -b -i 3600 vgb/snap
	while left; do sleep 0.5; done
	stop=$(now)
}

by_other() {
	start=$(now)
	must "$FOLDBACK" lvconvert --merge -q vgb/snap --devices "$1"
	stop=$(now)
	must vgchange -ay --poll n vgb
}

for who in $ORDER; do
	case $who in
	kernel) raw=$KERNEL ;;
	*) raw=$OTHER ;;
	esac
	pv=$raw
	if [ "$DELAY" != 0 ]; then
		must dmsetup create "slow$who" --table "0 $(blockdev --getsz "$raw") delay $raw 0 0 $raw 0 0 $raw 0 $DELAY"
		pv=/dev/mapper/slow$who
	fi
	only "$pv"
	before=$(flushes "$raw")
	"by_$who" "$pv"
	fact "$who.ms" $(((stop - start) / 1000000))
	fact "$who.flushes" $(($(flushes "$raw") - before))
	same "$who.content" "$SNAP" "$(digest /dev/vgb/origin)"
	must vgchange -an vgb
done
