# The kernel merges $VG/$SNAP on $DISK through LVM2.
STEP=control
must vgchange -ay --poll n "$VG"
check merge lvconvert --merge -i 0 "$VG/$SNAP"
must vgchange -an "$VG"
