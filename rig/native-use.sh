# A VG that Foldback made on $DISK: origin, s1 (64 KiB chunks), s2 (4 KiB chunks), all never written. LVM2 activates it,
# the kernel copies out, LVM2 merges s1, removes s2 and makes another LV.
STEP=native
silent vgck vgck vgn
silent pvck pvck "$DISK"
silent vgs vgs -v vgn
must vgchange -ay vgn
same tables "snapshot-origin snapshot snapshot" \
	"$(for d in origin s1 s2; do dmsetup status vgn-$d | cut -d' ' -f3; done | tr '\n' ' ' | sed 's/ $//')"
zeros=$(head -c 33554432 /dev/zero | sha256sum | cut -c1-64)
same s1-fresh "$zeros" "$(digest /dev/vgn/s1)"
check write-origin "$XTASK" guest pattern /dev/vgn/origin 5
same s1-kept "$zeros" "$(digest /dev/vgn/s1)"
same s2-kept "$zeros" "$(digest /dev/vgn/s2)"
check write-s1 "$XTASK" guest write /dev/vgn/s1 partial 65536 200 6
wanted=$(digest /dev/vgn/s1)
# Activated again, so that the kernel reads from disk what it wrote itself.
must vgchange -an vgn
must vgchange -ay vgn
check merge lvconvert --merge -i 0 vgn/s1
same origin "$wanted" "$(digest /dev/vgn/origin)"
same s2-after "$zeros" "$(digest /dev/vgn/s2)"
check remove lvremove -y vgn/s2
must vgchange -an vgn
check create lvcreate -an -Zn -L 8m -n another vgn
silent vgck-end vgck vgn
