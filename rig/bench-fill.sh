# A VG vgb on $DISK: an origin of 1 GiB, written, and a snapshot with $COUNT scattered exceptions of 4 KiB.
STEP=fill
must pvcreate "$DISK"
must vgcreate vgb "$DISK"
must lvcreate -an -Zn -L 1g -n origin vgb
must lvchange -ay vgb/origin
must "$XTASK" guest pattern /dev/vgb/origin 1
must lvcreate -s -c 4k -L 300m -n snap vgb/origin
must "$XTASK" guest write /dev/vgb/snap random 4096 "$COUNT" 2
same count "$COUNT" "$(dmsetup status vgb-snap | cut -d' ' -f4- | tr '/' ' ' | awk '{ print ($1 - $3) / 8 }')"
fact snap "$(digest /dev/vgb/snap)"
fact pieces "$(lvs -a --noheadings -o lv_name,seg_pe_ranges vgb | tr -s ' \n' ' ')"
must vgchange -an vgb
