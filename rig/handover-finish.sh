# The kernel goes on with the merge of s1 that was begun elsewhere, and LVM2's poller ends it. The other party must have
# merged at least $SHARE sectors, which the kernel cannot have done between activation and the first look.
STEP=finish
must vgchange -ay --poll n vgh
status=$(dmsetup status vgh-origin | cut -d' ' -f3-)
now=${status#* } now=${now%%/*} metadata=${status##* }
if [ "${status%% *}" = snapshot-merge ] && [ "$now" -le $((USED - SHARE)) ] && [ "$now" -gt "$metadata" ]; then
	ok "found-inside"
	fact left "$now"
else
	fail "found-inside" "the origin's status is $status, the store was $USED"
fi
must vgchange -ay vgh
tries=0
while lvs --noheadings vgh/s1 >/dev/null 2>&1; do
	tries=$((tries + 1))
	if [ "$tries" -gt 300 ]; then
		fail poller "s1 is still there: $(dmsetup status vgh-origin)"
		break
	fi
	sleep 0.2
done
must vgchange -an vgh
