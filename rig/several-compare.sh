# $DISKS: three disks on which s1 was merged by Foldback; $COPIES: what they were before. The kernel merges the copies
# through LVM2, and both are read. The two are never active at once, since they are copies with the same UUIDs.
STEP=compare

# only_these DISKS: from here on LVM2 sees those disks alone.
only_these() {
	LVM_SYSTEM_DIR=/run/lvm-$1
	mkdir "$LVM_SYSTEM_DIR"
	_letters=$(echo "$2" | sed 's,/dev/ubd,,g' | tr -d ' ')
	sed "s,\^/dev/ubd.a-p.,^/dev/ubd[$_letters]," "$SCRATCH/lvm/lvm.conf" >"$LVM_SYSTEM_DIR/lvm.conf"
}

# look WHO: what every volume reads as and what LVM2 lists, but for the disks' names.
look() {
	fact "$1.origin" "$(digest /dev/vgp/origin)"
	fact "$1.s2" "$(digest /dev/vgp/s2)"
	lvs -a --noheadings -o lv_name,lv_attr,lv_size,origin,segtype,stripes,chunk_size --sort lv_name --units s vgp >"/run/$1.list"
}

only_these kernel "$COPIES"
must vgchange -ay --poll n vgp
check merge lvconvert --merge -i 0 vgp/s1
look kernel
must vgchange -an vgp

only_these other "$DISKS"
silent vgck vgck vgp
for disk in $DISKS; do
	silent "pvck-${disk##*/}" pvck "$disk"
done
silent vgs vgs -v vgp
check activate vgchange -ay vgp
same target snapshot-origin "$(dmsetup status vgp-origin | cut -d' ' -f3)"
look other
check deactivate vgchange -an vgp
same listing "$(cat /run/kernel.list)" "$(cat /run/other.list)"
