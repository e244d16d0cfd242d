# LVM2 starts the merge of s1, and the machine stops in the middle of it: no sync, nothing deactivated.
STEP=begin
used() { dmsetup status vgh-origin | cut -d' ' -f4 | cut -d/ -f1; }
metadata() { dmsetup status vgh-origin | cut -d' ' -f5; }

must vgchange -ay --poll n vgh
must lvconvert --merge -b -i 3600 vgh/s1
while [ "$(used)" -gt $((USED * 2 / 3)) ]; do :; done
now=$(used)
if [ "$now" -lt "$USED" ] && [ "$now" -gt "$(metadata)" ]; then
	ok "stopped-inside"
	fact left "$now"
else
	fail "stopped-inside" "the kernel's store is at $now of $USED, metadata $(metadata)"
fi
ok guest-end
poweroff -f
