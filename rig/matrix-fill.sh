# Makes one VG per line of $CELLS and fills it: id, disk, order, chunk bytes, snapshots, writes to the origin and to
# each snapshot, seed. After each snapshot is taken the origin is written, then the snapshot itself, so that older
# snapshots have exceptions from both. What each volume reads as is told for the comparison later.

volumes() {
	echo origin
	_n=1
	while [ $_n -le "$1" ]; do
		echo s$_n
		_n=$((_n + 1))
	done
}

while read -r id disk order chunk snaps to_origin to_snap seed; do
	STEP=$id vg=vg$id
	only "$disk"
	batch /run/made <<LVM
pvcreate $disk
vgcreate $vg $disk
lvcreate -an -Zn -L 24m -n origin $vg
lvchange -ay $vg/origin
LVM
	must "$XTASK" guest pattern "/dev/$vg/origin" "$seed"
	n=1
	while [ "$n" -le "$snaps" ]; do
		must lvcreate -s -c "${chunk}b" -L 28m -n "s$n" "$vg/origin"
		must "$XTASK" guest write "/dev/$vg/origin" "$order" "$chunk" "$to_origin" $((seed + 10 * n))
		must "$XTASK" guest write "/dev/$vg/s$n" "$order" "$chunk" "$to_snap" $((seed + 10 * n + 1))
		n=$((n + 1))
	done
	for volume in $(volumes "$snaps"); do
		fact "$id.$volume" "$(digest "/dev/$vg/$volume")"
	done
	must vgchange -an "$vg"
	ok "fill-$id"
done <<END
$CELLS
END
