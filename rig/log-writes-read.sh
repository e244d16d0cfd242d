# LVM2's reading of $COUNT disks of $SECTORS sectors each, which lie one behind another on $DISK: a line for each, in which
# `!` begins what LVM2 has said on standard error.
STEP=log-writes-read
at=0
while [ $at -lt "$COUNT" ]; do
	must dmsetup create "h$at" --table "0 $SECTORS linear $DISK $((at * SECTORS))"
	only "/dev/mapper/h$at"
	batch /run/read <<END
lvs -a --noheadings --nosuffix --units s --separator , -o lv_name,lv_size,origin,lv_merging,vg_seqno vgl
vgck vgl
END
	fact read "$at $(tr -d ' []' </run/read | sort | tr '\n' ' ')$(grep . /run/read.err | sed 's/^/!/' | tr '\n' ' ')"
	must dmsetup remove "h$at"
	at=$((at + 1))
done
ok read
