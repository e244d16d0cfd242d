# A merge that is long enough to be stopped inside: $DISK gets an origin of 192 MiB, a snapshot s1 in which every 64 KiB
# chunk is an exception, in descending order, so that the kernel merges them one by one, and another snapshot s2.
STEP=fill
must pvcreate "$DISK"
must vgcreate vgh "$DISK"
must lvcreate -an -Zn -L 192m -n origin vgh
must lvchange -ay vgh/origin
must "$XTASK" guest pattern /dev/vgh/origin 1
must lvcreate -s -c 64k -L 200m -n s2 vgh/origin
must lvcreate -s -c 64k -L 200m -n s1 vgh/origin
must "$XTASK" guest write /dev/vgh/s1 descending 65536 3072 2
must "$XTASK" guest write /dev/vgh/s2 random 65536 100 3
must "$XTASK" guest write /dev/vgh/origin partial 65536 50 4
fact s1 "$(digest /dev/vgh/s1)"
fact s2 "$(digest /dev/vgh/s2)"
fact used "$(dmsetup status vgh-s1 | cut -d' ' -f4 | cut -d/ -f1)"
must vgchange -an vgh
ok fill
