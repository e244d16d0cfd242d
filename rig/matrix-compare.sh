# For each line of $CELLS (id, disk merged elsewhere, copy that was not merged, snapshots, number of the merged one):
# the kernel merges the copy through LVM2, and LVM2 looks at both. The two are never active at once, since they
# are copies with the same UUIDs.

# Lists the LVs into the file $1 and ends their activity. Disk names are the one thing that may differ.
close() {
	batch "$1" <<LVM
lvs -a --noheadings -o lv_name,lv_attr,lv_size,origin,segtype,chunk_size,lv_tags,devices --sort lv_name --units s $vg
vgchange -an $vg
LVM
	sed -i 's,/dev/ubd.,DISK,g' "$1"
}

look() { # WHO: digests of the origin and of every snapshot but the merged one
	for volume in origin s1 s2 s3 s4; do
		[ "$volume" != "s$merged" ] || continue
		[ -e "/dev/$vg/$volume" ] || continue
		fact "$1.$id.$volume" "$(digest "/dev/$vg/$volume")"
	done
}

while read -r id disk copy snaps merged; do
	STEP=$id vg=vg$id
	only "$copy"
	batch /run/merged <<LVM
vgchange -ay --poll n $vg
lvconvert --merge -i 0 $vg/s$merged
LVM
	look kernel
	close /run/kernel

	only "$disk"
	batch /run/opened <<LVM
vgck $vg
pvck $disk
vgs -v $vg
vgchange -ay $vg
LVM
	quiet "$id.open" /run/opened
	look other
	close /run/other
	quiet "$id.close" /run/other
	same "$id.listing" "$(cat /run/kernel)" "$(cat /run/other)"
done <<END
$CELLS
END
