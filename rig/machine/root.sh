# The root file system on an LV that merges at boot. Boot 1 moves the system to sys/root and makes two initrds; 2 takes a snapshot,
# changes what is there, and asks for the merge; 3 finds it begun by LVM2's initramfs, and its power is cut; 4 finds it
# ended by the service, and asks for another merge; 5 has the initrd with our hook. vdd keeps what no merge may take back.
STEP=root
OUT=/out
leave() {
	must umount $OUT
	ok guest-end
	systemctl --no-block poweroff
	exit 0
}
# What must be there again after a merge: programs, settings, and a file of our own. LVM2's backups are written by the end itself.
content() { find /etc /usr/bin /usr/sbin /srv -xdev -type f -not -path '/etc/lvm/*' -print0 | sort -z | xargs -0 sha256sum | digest /dev/stdin; }
# 0 SECTORS snapshot-merge USED/ALL METADATA: what is used beside the metadata is left to merge.
unfinished() { dmsetup status sys-root | grep snapshot-merge | grep -qv ' \([0-9]*\)/[0-9]* \1$'; }
gone() { ! lvs -a --noheadings -o lv_name sys | grep -qw "$1"; }

move_to_lv() {
	install_foldback
	must mke2fs -q -t ext4 "$DISK1"
	must mount "$DISK1" $OUT
	must pvcreate "$DISK0"
	must vgcreate sys "$DISK0"
	must lvcreate -y -L 900m -n root sys
	must mke2fs -q -t ext4 /dev/sys/root
	mkdir -p /new
	must mount /dev/sys/root /new
	must cp -ax /. /new
	fact moved.copied "after $(cut -d' ' -f1 /proc/uptime) s"
	echo '/dev/mapper/sys-root / ext4 defaults 0 0' >/new/etc/fstab
	for dir in dev proc sys; do must mount --bind /$dir /new/$dir; done
	must chroot /new mkinitramfs -o /plain "$(uname -r)"
	fact moved.plain "after $(cut -d' ' -f1 /proc/uptime) s"
	must cp /run/rig/initramfs-tools/hooks/foldback /new/etc/initramfs-tools/hooks/foldback
	must chroot /new mkinitramfs -o /hooked "$(uname -r)"
	must mv /new/plain /new/hooked $OUT
	must umount -R /new
	must vgchange -an sys
	check moved.plain test -s $OUT/plain
	check moved.hooked test -s $OUT/hooked
	leave
}

# ask_for_merge NAME BLOCKS COMMAND...: a snapshot of the running system, damage, and the wish to go back.
ask_for_merge() {
	same "$1.root" /dev/mapper/sys-root "$(findmnt -n -o SOURCE /)"
	echo "$1" >/srv/state
	must dd if=/dev/zero of=/srv/blocks bs=1M count=96 conv=fsync
	check "$1.snapshot" foldback lvcreate -s -c 4k -L 600m -n before sys/root
	content >$OUT/content
	echo broken >/srv/state
	must rm /usr/sbin/mke2fs
	must dd if=/dev/urandom of=/srv/big bs=1M count=32 conv=fsync
	# Chunks that lie apart are what takes the kernel long.
	must /run/rig/xtask guest write /srv/blocks random 4096 "$2" 1
	shift 2
	must "$@"
	grep -q 'Merging of snapshot sys/before will occur on next activation of sys/root' /run/out && ok "$STEP.said" || fail "$STEP.said" "$(cat /run/out)"
	left asked
}

# merged NAME: everything is as it was when the snapshot was taken, under a plain LV.
merged() {
	same "$1.root" /dev/mapper/sys-root "$(findmnt -n -o SOURCE /)"
	same "$1.content" "$(cat $OUT/content)" "$(content)"
	same "$1.linear" linear "$(dmsetup status sys-root | cut -d' ' -f3 | sort -u)"
	same "$1.devices" sys-root "$(dmsetup info -c --noheadings -o name)"
	silent "$1.vgck" vgck sys
	left "$1"
}

[ "$BOOT" = 1 ] && mkdir -p $OUT
[ "$BOOT" = 1 ] || must mount "$DISK1" $OUT
case $BOOT in
1)
	move_to_lv
	;;
2)
	STEP=first
	ask_for_merge first 8000 foldback lvconvert --merge sys/before
	leave
	;;
3)
	check begun unfinished
	same begun.state first "$(cat /srv/state)"
	fact begun.left "$(dmsetup status sys-root)"
	echo 200 >/dev/ttyS2
	sleep 60
	;;
4)
	fact again.left "$(dmsetup status sys-root)"
	check ended waits gone before
	check ended.unit waits systemctl -q is-enabled foldback-finish.service
	merged first
	STEP=second
	ask_for_merge second 2000 lvconvert --merge sys/before
	leave
	;;
*)
	check hook.done gone before
	journalctl -b -q --no-pager | grep -i 'foldback\|merg' >/run/journal
	fact hook.journal "$(tail -n 5 /run/journal | tr '\n' ' ')"
	grep -q 'lvconvert\|finish.*Merge of snapshot' /run/journal && fail hook.alone "$(cat /run/journal)" || ok hook.alone
	merged second
	leave
	;;
esac
