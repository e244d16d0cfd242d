# After the merge of s1: the origin is what s1 was ($S1), s2 is what it was ($S2), and LVM2 finds nothing to say.
STEP=check
silent vgck vgck vgh
silent pvck pvck "$DISK"
silent vgs vgs -v vgh
same volumes "origin s2 " "$(lvs -a --noheadings -o lv_name --sort lv_name vgh | tr -d ' ' | tr '\n' ' ')"
check activate vgchange -ay vgh
same target snapshot-origin "$(dmsetup status vgh-origin | cut -d' ' -f3)"
same origin "$S1" "$(digest /dev/vgh/origin)"
same s2 "$S2" "$(digest /dev/vgh/s2)"
check deactivate vgchange -an vgh
