# `lvs` of a VG of $LVS LVs on $DISK by LVM2 and by Foldback, $ROUNDS times in turns, of inactive and of active LVs. The VG is one
# that LVM2 restores from a text; both find its disk by themselves. Told: milliseconds of whole commands, and that both print the same.
STEP=bench-many
now() { date +%s%N; }

must vgcreate -s 64k vgm "$DISK"
must lvcreate -an -Zn -l 1 -n lv vgm
must vgcfgbackup -f /run/one vgm
awk -v lvs="$LVS" '
	/logical_volumes \{/ {
		print
		for (n = 0; n < lvs; n++)
			printf "lv%04d {\nid = \"%06d-many-many-many-many-many-%06d\"\nstatus = [\"READ\", \"WRITE\", \"VISIBLE\"]\nflags = []\n" \
				"segment_count = 1\nsegment1 {\nstart_extent = 0\nextent_count = 1\ntype = \"striped\"\nstripe_count = 1\n" \
				"stripes = [\n\"pv0\", %d\n]\n}\n}\n", n, n, n, n
		print "}\n}"
		exit
	}
	{ print }' /run/one >/run/many
must vgcfgrestore -f /run/many vgm

measure() {
	round=0
	while [ $round -lt "$ROUNDS" ]; do
		for who in lvm2 foldback; do
			start=$(now)
			case $who in
			lvm2) must lvm lvs vgm ;;
			*) must "$FOLDBACK" lvm lvs vgm ;;
			esac
			stop=$(now)
			cp /run/out "/run/said.$who"
			fact "$1.$who.ms" $(((stop - start) / 1000000))
		done
		round=$((round + 1))
	done
	same "$1.count" "$LVS" "$(grep -c lv /run/said.foldback)"
	check "$1.alike" diff -b /run/said.lvm2 /run/said.foldback
}

measure inactive
must vgchange -ay --poll n vgm
measure active
must vgchange -an vgm
