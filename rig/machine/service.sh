# The units of dist/systemd on a machine that boots, shuts down, and boots again. vga is the kernel's and is activated as an
# initramfs activates: with --sysinit, by nobody else. vgi lies in an image file and is served by the daemon.
STEP=service
IMAGE=/srv/pv.img
pid_of() { systemctl show -p MainPID --value "$1"; }
state() { systemctl show -p ActiveState --value "$1"; }
is() { [ "$(state "$1")" = "$2" ]; }
another_pid() { is foldback.service active && [ "$(pid_of foldback.service)" != "$1" ]; }
gone() { ! lvs -a --noheadings -o lv_name "$1" | grep -qw "$2"; }
# leave: the ordinary way down, with every unit's own stop.
leave() {
	ok guest-end
	systemctl --no-block poweroff
	exit 0
}

first_boot() {
	install_foldback
	mkdir -p /var/log/journal /data /image # The journal of this boot is read by the next one.
	must systemctl restart systemd-journald.service
	must journalctl --flush
	cat >/etc/systemd/system/rig-activate.service <<-'END'
		[Unit]
		DefaultDependencies=no
		After=systemd-udevd.service dev-vdc.device
		Wants=dev-vdc.device
		Before=local-fs-pre.target
		[Service]
		Type=oneshot
		ExecStart=/sbin/lvm vgchange -ay --sysinit vga
		[Install]
		WantedBy=local-fs-pre.target
	END
	must systemctl daemon-reload
	must systemctl enable rig-activate.service
	units="foldback.service foldback.socket foldback-finish.service"
	# shellcheck disable=SC2086
	silent units.verify systemd-analyze --man=no verify $units

	# A merge that LVM2 marks, since the origin is mounted.
	must pvcreate "$DISK0"
	must vgcreate vga "$DISK0"
	must lvcreate -y -L 96m -n root vga
	# udev in the initrd would activate it, and LVM2's poller there may end the merge before the system itself runs.
	must lvchange --setautoactivation n vga/root
	must mke2fs -q -t ext4 /dev/vga/root
	must mount /dev/vga/root /data
	echo old >/data/file
	sync
	must lvcreate -s -c 4k -L 48m -n before vga/root
	echo new >/data/file
	must dd if=/dev/urandom of=/data/big bs=1M count=16 conv=fsync
	must lvconvert --merge vga/before
	same mark.waits snapshot-origin "$(dmsetup status vga-root | cut -d' ' -f3)"
	echo '/dev/vga/root /data ext4 defaults,nofail 0 0' >>/etc/fstab

	# The socket starts the daemon for a command that only looks; it ends by itself.
	must systemctl enable --now foldback.socket
	same socket.idle inactive "$(state foldback.service)"
	must truncate -s 128M $IMAGE
	export FOLDBACK_DEVICES=$IMAGE
	check image.pv foldback pvcreate $IMAGE
	check image.vg foldback vgcreate vgi $IMAGE
	check image.lv foldback lvcreate -an -L 48m -n data vgi
	check socket.look foldback lvs vgi
	check socket.ends waits is foldback.service inactive
	same socket.result success "$(systemctl show -p Result --value foldback.service)"
	journalctl -b -q --no-pager -u foldback.service | grep -q 'Started' && ok socket.started || fail socket.started "$(journalctl -b -q --no-pager -u foldback.service | tail -n 5)"

	# A served volume under a file system; the service is not stopped by hand.
	check serve.up foldback vgchange -ay vgi
	check serve.active waits is foldback.service active
	must mke2fs -q -t ext4 /dev/vgi/data
	must mount /dev/vgi/data /image
	must dd if=/dev/urandom of=/image/big bs=1M count=8 conv=fsync
	written=$(digest /image/big)
	before=$(pid_of foldback.service)
	for verb in stop restart; do
		if systemctl $verb foldback.service >/run/out 2>&1; then fail "serve.$verb" "it was done"; else ok "serve.$verb"; fi
	done
	same serve.goes-on "$before" "$(pid_of foldback.service)"
	# Killed: systemd starts another, which takes up what was active.
	must umount /image
	must systemctl kill --signal=KILL foldback.service
	check killed.another waits another_pid "$before"
	check killed.there waits test -b /dev/vgi/data
	check killed.mount waits mount /dev/vgi/data /image
	same killed.content "$written" "$(digest /image/big)"
	check killed.snapshot foldback lvcreate -s -L 8m -n snap vgi/data
	echo "$written" >/srv/written
	echo more >/image/more
	# The way down finds all of it mounted and active.
	leave
}

second_boot() {
	export FOLDBACK_DEVICES=$IMAGE
	# Nobody helps: the activation has begun the merge, foldback-finish.service ends it.
	check finish.ended waits gone vga before
	check finish.inactive waits is foldback-finish.service inactive
	same finish.result success "$(systemctl show -p Result --value foldback-finish.service)"
	# LVM2's lvmpolld would call itself `lvpoll --polloperation`.
	sed -n 's/^description = //p' /etc/lvm/backup/vga >/run/by
	fact finish.by "$(cat /run/by)"
	grep lvpoll /run/by | grep -qv polloperation && ok finish.by || fail finish.by "$(cat /run/by)"
	must journalctl --sync
	journalctl -b -q --no-pager >/run/journal
	grep -q 'foldback.*Merge of snapshot into logical volume vga/root has finished' /run/journal && ok finish.said ||
		fail finish.said "$(grep -i 'foldback\|lvm\|merg' /run/journal | head -n 20)"
	check finish.mounted mountpoint -q /data
	same finish.file old "$(cat /data/file)"
	same finish.big no "$(test -e /data/big && echo yes || echo no)"
	same finish.linear linear "$(dmsetup status vga-root | cut -d' ' -f3 | sort -u)"
	silent finish.vgck vgck vga
	must umount /data
	check finish.fsck e2fsck -fn /dev/vga/root

	# The last boot unmounted before the daemon stopped, and nothing was killed.
	journalctl -b -1 -q --no-pager -o cat -u foldback.service -u image.mount >/run/journal
	tail -n 4 /run/journal | grep -q 'foldback.service: Deactivated successfully' && ok down.clean || fail down.clean "$(tail -n 8 /run/journal)"
	awk '/Unmounted|image.mount: Deactivated/ { mount = NR } /foldback.service: Deactivated|Stopping.*user space/ { if (!mount) early = 1; else early = 0 } END { exit early }' /run/journal &&
		ok down.order || fail down.order "$(tail -n 8 /run/journal)"
	check again.up foldback vgchange -ay vgi
	check again.fsck e2fsck -fn /dev/vgi/data
	must mount -o ro /dev/vgi/data /image
	same again.content "$(cat /srv/written)" "$(digest /image/big)"
	same again.more more "$(cat /image/more)"
	must umount /image
	check again.merge foldback lvconvert --merge vgi/snap
	check again.down foldback vgchange -an vgi
	check again.ends waits is foldback.service inactive
	same again.loops "" "$(losetup -a)"
	left again
}
case $BOOT in 1) first_boot ;; *) second_boot ;; esac
