# Start of every guest script of rig 2; process 1 of the guest reads it.
#
# The guest's root is the host's, writable: write only below /run (a tmpfs of the guest's own), below
# $SCRATCH, and to the ubd disks. Lines that the host reads:
#   RESULT name ok | RESULT name fail why     a check
#   FACT key value                            something learned, compared on the host
# The host misses the last line, `RESULT guest-end ok`, when the script did not reach its end.

export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/run LC_ALL=C TZ=UTC0
export LVM_SYSTEM_DIR="$SCRATCH/lvm" DM_DISABLE_UDEV=1
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev 2>/dev/null || true # the kernel may have done it
mount -t tmpfs tmp /run
exec </dev/null >/dev/console 2>&1
cd /run || poweroff -f
# The host ends a guest that takes too long; this ends one whose host program is gone.
(sleep $((LIMIT + 30)) && poweroff -f) &

ok() { echo "RESULT $1 ok"; }
fail() {
	_failed=$1
	shift
	echo "RESULT $_failed fail $(echo "$*" | tr '\n' ' ')"
}
fact() { echo "FACT $*"; }

# check NAME COMMAND...: the command must succeed.
check() {
	_name=$1
	shift
	if "$@" </dev/null >/run/out 2>&1; then
		ok "$_name"
	else
		fail "$_name" "status $?: $*: $(tr '\n' ' ' </run/out)"
	fi
}

# must COMMAND...: a step of the set-up; when it fails nothing after it means anything.
must() {
	if ! "$@" </dev/null >/run/out 2>&1; then
		fail "$STEP" "set-up, status $?: $*: $(tr '\n' ' ' </run/out)"
		poweroff -f
	fi
}

# complaints ERRORS OUTPUT: whether there is anything on standard error, or a warning in the output. That a backup of the
# metadata was made is not a complaint, and only said because of -v.
complaints() { grep -v 'Creating .*backup' "$1" | grep -q . || grep -qi warning "$2"; }

# silent NAME COMMAND...: the command must succeed and neither warn nor complain.
silent() {
	_name=$1
	shift
	if ! "$@" </dev/null >/run/out 2>/run/err; then
		fail "$_name" "status $?: $*: $(tr '\n' ' ' </run/err)"
	elif complaints /run/err /run/out; then
		fail "$_name" "$*: $(cat /run/err /run/out | tr '\n' ' ')"
	else
		ok "$_name"
	fi
}

# same NAME EXPECTED FOUND
same() {
	if [ "$2" = "$3" ]; then ok "$1"; else fail "$1" "expected $2, found $3"; fi
}

# only DISK: from here on LVM2 sees that disk alone. Copies of one image, which have the same UUIDs, may lie beside it.
# (Its option --devices says the same, but LVM2 2.03.16 crashes on the second such command of one process.)
only() {
	LVM_SYSTEM_DIR=/run/lvm-${1##*/}
	[ -d "$LVM_SYSTEM_DIR" ] && return
	mkdir "$LVM_SYSTEM_DIR"
	sed "s,\^/dev/ubd.a-p.,^$1," "$SCRATCH/lvm/lvm.conf" >"$LVM_SYSTEM_DIR/lvm.conf"
}

# quiet NAME FILE: what a batch of LVM2 commands said on standard error, and any warning, fails the check.
quiet() {
	if complaints "$2.err" "$2"; then
		fail "$1" "$(cat "$2.err" "$2" | tr '\n' ' ')"
	else
		ok "$1"
	fi
}

# batch FILE: LVM2 commands from standard input in one process, which saves most of their time in the guest. It goes on
# after a command that fails; so look at FILE.err, or at what the commands should have made.
batch() { lvm >"$1" 2>"$1.err"; }

digest() { sha256sum <"$1" | cut -c1-64; }

finish() {
	ok guest-end
	sync
	poweroff -f
}

STEP=boot
_modules=$(ls -d /usr/lib/uml/modules/*/kernel/drivers/md)
for _m in dm-mod dm-bufio dm-snapshot dm-delay; do
	must insmod "$_modules/$_m.ko"
done
