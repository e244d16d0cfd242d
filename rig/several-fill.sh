# A VG vgp on the three disks of $DISKS: an origin striped over the first two, a snapshot s1 whose store is striped over all
# three and goes on in a second, linear piece, and another snapshot s2 on the third disk. Every 16 KiB chunk of s1 is an
# exception, in scattered order, so that a merge of it touches every piece and is long enough to be stopped inside.
STEP=fill
set -- $DISKS
must pvcreate "$1" "$2" "$3"
must vgcreate vgp "$1" "$2" "$3"
must lvcreate -an -Zn -i 2 -I 64k -L 64m -n origin vgp "$1" "$2"
must lvchange -ay vgp/origin
must "$XTASK" guest pattern /dev/vgp/origin 1
must lvcreate -s -c 16k -L 80m -n s2 vgp/origin "$3"
must lvcreate -s -c 16k -i 3 -I 32k -L 48m -n s1 vgp/origin "$1" "$2" "$3"
must lvextend -i 1 -L +24m vgp/s1 "$2"
must "$XTASK" guest write /dev/vgp/s1 random 16384 4096 2
must "$XTASK" guest write /dev/vgp/s2 partial 16384 100 3
must "$XTASK" guest write /dev/vgp/origin random 16384 60 4
same pieces "origin:striped:2 s1:linear:1 s1:striped:3 s2:linear:1" "$(lvs -a --noheadings --separator : -o lv_name,segtype,stripes,seg_start vgp |
	tr -d ' ' | sed 's/:[^:]*$//' | sort | tr '\n' ' ' | sed 's/ $//')"
fact s1 "$(digest /dev/vgp/s1)"
fact s2 "$(digest /dev/vgp/s2)"
must vgchange -an vgp
ok fill
