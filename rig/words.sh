# The words of every script that runs inside a guest, in rig 2 and in rig 3. Functions only. Lines that the host reads:
#   RESULT name ok | RESULT name fail why     a check
#   FACT key value                            something learned, compared on the host
# The host misses the last line, `RESULT guest-end ok`, when the script did not reach its end.

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
