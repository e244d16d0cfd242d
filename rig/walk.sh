# One boot of a random walk on the VG vgw, whose PV is a delay on $DISK: `xtask guest walk` does what is left of it. The first boot
# makes the VG.
STEP=walk
PV=/dev/mapper/slow
must dmsetup create slow --table "0 $(blockdev --getsz "$DISK") delay $DISK 0 0 $DISK 0 0"
only "$PV"
# A refusal comes at once, not after LVM2's five seconds.
sed -i 's/monitoring = 0/& retry_deactivation = 0/' "$LVM_SYSTEM_DIR/lvm.conf"
export FOLDBACK_DEVICES="$PV"
[ -e "$SCRATCH/journal" ] || must vgcreate -s 1m vgw "$PV"
if ! "$XTASK" guest walk "$SEED" "$FOLDBACK" "$DISK" "$SCRATCH" 2>/run/walk.err; then
	# For whoever looks for the reason.
	dmsetup info -c -o name,uuid,attr,open
	dmsetup table
	dmsetup status
	lvs -a -o +lv_uuid vgw
	fail walk "$(tr '\n' ' ' </run/walk.err)"
	poweroff -f
fi
same end.kernel "" "$(dmesg | grep -E 'BUG:|WARNING:|Oops' | head -n 3)"
