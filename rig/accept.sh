# For each line of $STAGES (name, disk, 1 when it has the VG vga): LVM2 takes what Foldback wrote without a word, shows
# the same LVs as Foldback does ($SCRATCH/NAME.lvs), and its own next write keeps them.
show() {
	lvs -a --noheadings -o lv_name,lv_attr,lv_size,origin,chunk_size --units s vga | sed 's/^ *//; s/ *$//; s/  */ /g' | sort
}
while read -r name disk vg; do
	STEP=$name
	only "$disk"
	silent "$name.pvck" pvck "$disk"
	silent "$name.pvs" pvs -v "$disk"
	[ "$vg" = 1 ] || continue
	silent "$name.vgck" vgck vga
	silent "$name.vgs" vgs -v vga
	expected=$(sed 's/^ *//; s/ *$//; s/  */ /g' "$SCRATCH/$name.lvs" | sort)
	same "$name.lvs" "$expected" "$(show)"
	silent "$name.write" vgchange --addtag later vga
	silent "$name.vgck-after" vgck vga
	same "$name.lvs-after" "$expected" "$(show)"
done <<END
$STAGES
END
