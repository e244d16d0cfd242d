# The life of a VG vgl whose PV is logged by dm-log-writes ($DISK; the log on $OTHER), from its first write on. After each
# command a mark, what LVM2 says of the VG then, and the content of what is active. Each step is one commit at most.
STEP=log-writes
fb() { "$FOLDBACK" "$@"; }
export FOLDBACK_DEVICES=/dev/mapper/logged
ROWS="lv_name,lv_size,origin,lv_merging,vg_seqno"
rows() { lvs -a --noheadings --nosuffix --units s --separator , -o "$ROWS" vgl 2>&1 | tr -d ' []' | sort | tr '\n' ' '; }
# acknowledged NAME: what was asked for is acknowledged.
acknowledged() {
	must dmsetup message logged 0 mark "$1"
	fact step "$1"
	fact rows "$1 $(rows)"
	for _device in root s1 s2 s3 s4; do
		[ ! -b /dev/vgl/$_device ] || fact content "$1 $_device $(digest /dev/vgl/$_device)"
	done
}
step() { # NAME COMMAND...
	_step=$1
	shift
	must "$@"
	acknowledged "$_step"
}

must insmod "$_modules/dm-log-writes.ko"
must dmsetup create logged --table "0 $(blockdev --getsz "$DISK") log-writes $DISK $OTHER"
only /dev/mapper/logged
must fb pvcreate /dev/mapper/logged
step vg fb vgcreate vgl /dev/mapper/logged
step root fb lvcreate -y -L 12m -n root vgl
step fill "$XTASK" guest pattern /dev/vgl/root 1
step first fb lvcreate -s -c 4k -L 4m -n s1 vgl/root
step write-1 "$XTASK" guest write /dev/vgl/root random 4096 30 2
step second fb lvcreate -s -c 16k -L 16m -n s2 vgl/root
step longer fb lvextend -L +4m vgl/s1
step write-2 "$XTASK" guest write /dev/vgl/root random 4096 30 3
step write-snapshot "$XTASK" guest write /dev/vgl/s1 random 4096 10 4
step rename fb lvrename vgl s2 s3
# Merged by our engine, with nothing active.
must fb vgchange -an vgl
step mark fb lvconvert --merge --onactivate vgl/s1
step merged fb lvconvert --merge vgl/s1
step active fb vgchange -ay vgl
# Merged by the kernel.
step third fb lvcreate -s -c 8k -L 4m -n s4 vgl/root
step write-3 "$XTASK" guest write /dev/vgl/root random 4096 30 5
step mark-live fb lvconvert --merge --onactivate vgl/s4
must fb vgchange -an vgl
step begun fb vgchange -ay --poll n vgl
step merged-live fb finish vgl
# Our engine writes to an origin and copies out.
must fb vgchange -an vgl
head -c 12582912 /dev/urandom >/run/content
step import fb import /run/content vgl/root
fact content "import root $(digest /run/content)"
step up fb vgchange -ay vgl
step remove fb lvremove -y vgl/s3
must fb vgchange -an vgl
must dmsetup remove logged
ok life
