# LVM2 changes the metadata of a VG on $DISK behind our back, while we serve it: a tag, and an LV that goes and whose
# extents another LV gets. The first is kept by our next write; of the second nothing more is written.
STEP=behind
_kernel=$(ls -d /usr/lib/uml/modules/*/kernel)
must insmod "$_kernel/fs/fuse/fuse.ko"
must insmod "$_kernel/drivers/block/loop.ko"
export FOLDBACK_DEVICES="$DISK"
_log=/run/foldback/daemon.log

# until NAME LIMIT COMMAND...: how many tenths of a second it takes until the command succeeds; at most the limit.
until_seen() {
	_name=$1 _limit=$2 _tenths=0
	shift 2
	while ! "$@" >/dev/null 2>&1; do
		_tenths=$((_tenths + 1))
		if [ "$_tenths" -gt "$_limit" ]; then
			fail "$_name" "not within $_limit tenths: $*: $(tail -3 $_log | tr '\n' ' ')"
			return
		fi
		sleep 0.1
	done
	ok "$_name"
	fact "$_name" "$_tenths"
}

must "$FOLDBACK" vgcreate vgb "$DISK"
must "$FOLDBACK" lvcreate -an -L 32m -n stays vgb
must "$FOLDBACK" lvcreate -an -L 16m -n goes vgb
must "$FOLDBACK" vgchange -ay --backend user vgb
must mkfs.ext4 -q /dev/vgb/stays
must mkdir /run/mnt
must mount /dev/vgb/stays /run/mnt
must "$XTASK" guest pattern /dev/vgb/goes 7

check tag lvchange --addtag later vgb/stays
sleep 1.5
same tag-is-nothing 0 "$(grep -c 'somebody changed' $_log)"
check rename "$FOLDBACK" lvrename vgb/goes gone
same tag-kept later "$(lvs --noheadings -o lv_tags vgb/stays | tr -d ' ')"
check activation-refused sh -c '! vgchange -ay vgb'

must vgcfgbackup -f /run/before vgb
_where=$(lvs --noheadings -o seg_pe_ranges vgb/gone | tr -d ' ')
check lvremove lvremove -f vgb/gone
until_seen noticed 30 grep -q 'somebody changed volume group vgb' $_log
must lvcreate -an -Zn -L 16m -n taken vgb
same extents "$_where" "$(lvs --noheadings -o seg_pe_ranges vgb/taken | tr -d ' ')"
_first=${_where#*:} _first=${_first%-*}
raw() { dd if="$DISK" bs=1M skip=$((1 + _first * 4)) count=16 iflag=direct status=none | sha256sum; }
_taken=$(raw)
dd if=/dev/zero of=/dev/vgb/gone bs=64k count=32 oflag=direct status=none &
_writer=$!
check goes-on "$XTASK" guest dirty /run/mnt/file /run/table 8 3
same untouched "$_taken" "$(raw)"
check waits kill -0 $_writer
"$FOLDBACK" lvs vgb >/run/said 2>&1
check told grep -q "requests of its volumes wait" /run/said
# The metadata come back: what waited goes on, and nothing is lost.
check restore vgcfgrestore -f /run/before vgb
until_seen back 30 grep -q 'its requests go on' $_log
wait $_writer
same written 0 $?
same zeros "$(head -c 2097152 /dev/zero | sha256sum)" "$(head -c 2097152 /run/foldback/vgb/gone | sha256sum)"
check content "$XTASK" guest dirtied /run/mnt/file /run/table
must umount /run/mnt
check fsck e2fsck -fn /dev/vgb/stays
check deactivate "$FOLDBACK" vgchange -an vgb
silent vgck vgck vgb
