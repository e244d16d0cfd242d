#!/bin/sh
# What is changed in a debootstrapped Debian so that it boots in an emulator, quickly, and runs the rig's script.
#
# tree.sh TREE: as root, on the host. Everything else is as the packages left it: systemd, udev and LVM2 with their own rules,
# units and configuration.
set -eu
tree=$1

echo machine >"$tree/etc/hostname"
: >"$tree/etc/machine-id" # Made at the first boot.
echo '/dev/disk/by-label/rig-root / ext4 defaults 0 0' >"$tree/etc/fstab"

# The disk of each run: the script, the program and its files. Its serial number is `rig`.
cat >"$tree/etc/systemd/system/rig.service" <<'END'
[Unit]
Description=The script of the rig
DefaultDependencies=no
After=basic.target
Conflicts=shutdown.target
Before=shutdown.target

[Service]
Type=exec
ExecStartPre=/usr/bin/mkdir -p /run/rig
ExecStartPre=-/usr/bin/mount -o ro /dev/disk/by-id/virtio-rig /run/rig
ExecStart=/bin/sh /run/rig/script
TimeoutStopSec=20

[Install]
WantedBy=multi-user.target
END
chroot "$tree" systemctl --quiet enable rig.service
# Nobody logs in, nothing is updated: seconds of each boot.
chroot "$tree" systemctl --quiet mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer \
	e2scrub_reap.service fstrim.timer getty@tty1.service serial-getty@ttyS0.service systemd-update-utmp.service \
	systemd-networkd.service systemd-timesyncd.service

# Only the modules that the boot needs, so that an emulated processor has less to unpack.
printf '%s\n' virtio_pci virtio_blk ext4 dm_mod dm_snapshot >"$tree/etc/initramfs-tools/modules"
echo MODULES=list >"$tree/etc/initramfs-tools/conf.d/rig"
# An initrd that was made on another machine's hardware does not matter: the list is complete.
chroot "$tree" update-initramfs -u -k all

# What no run reads.
rm -rf "$tree/usr/share/doc" "$tree/usr/share/locale" "$tree/usr/share/man" "$tree/var/cache/apt" "$tree/var/lib/apt/lists"
mkdir -p "$tree/var/cache/apt/archives/partial" "$tree/var/lib/apt/lists/partial"
