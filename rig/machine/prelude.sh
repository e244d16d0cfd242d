# Start of every script of rig 3; a unit of the machine's systemd runs it. words.sh comes before it.
#
# Everything may be written to: the root file system is a layer that goes with the case. What is said goes to the second serial
# port, the kernel has the first one.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C TZ=UTC0
exec </dev/null >/dev/ttyS1 2>&1
cd /root || poweroff -f
fact "boot $BOOT" "script begins after $(cut -d' ' -f1 /proc/uptime) s"

# waits COMMAND...: until it succeeds, 60 seconds at most: an emulated machine beside others is slow.
waits() {
	_until=$(($(date +%s) + 60))
	until "$@" >/dev/null 2>&1; do
		[ "$(date +%s)" -lt $_until ] || return 1
		sleep 0.1
	done
}
# The program and its units, as a package would put them; the next boot has them.
install_foldback() {
	must cp /run/rig/foldback /usr/bin/foldback
	must cp -r /run/rig/units/. /usr/lib/systemd/system
	must systemctl daemon-reload
	must systemctl enable foldback-finish.service
}
# LVM2 looks whether a merge has ended every second instead of every 15.
poll_soon() { must sed -i 's/^\t# polling_interval = .*/\tpolling_interval = 1/' /etc/lvm/lvm.conf; }
suspended() { dmsetup info -c --noheadings -o name,suspended | grep -i suspended; }
# left NAME: no semaphore of a cookie and no suspended device is left.
left() {
	same "$1.cookies" "" "$(tail -n +2 /proc/sysvipc/sem)"
	same "$1.running" "" "$(suspended)"
}
