# Words of the scripts in which the kernel carries volumes that are in use.

# running NAME: nothing is suspended.
running() { same "$1.running" "" "$(dmsetup info -c --noheadings -o name,suspended | grep -i suspended)"; }

# waits COMMAND...: until it succeeds, two hundred tries at most, which only a hang or a mistake needs.
waits() {
	_tries=0
	until "$@" >/dev/null 2>&1; do
		_tries=$((_tries + 1))
		[ $_tries -lt 200 ] || return 1
		sleep 0.1
	done
}

# writer WHO COMMAND...: again and again, with the number of the round as its last word, until `wrote WHO`, or until a round fails.
writer() {
	_who=/run/writer-$1
	shift
	rm -f "$_who".*
	(
		n=0
		while [ ! -e "$_who.stop" ]; do
			n=$((n + 1))
			"$@" $n >"$_who.said" 2>&1 || exit 1
			echo $n >"$_who.new" && mv "$_who.new" "$_who.rounds"
		done
	) &
	echo $! >"$_who.pid"
	sleep 0.3
}
rounds() { cat "$1.rounds" 2>/dev/null || echo 0; }
# wrote WHO NAME: the writer goes on: it begins a round from now on, and ends it, and none has failed.
wrote() {
	_who=/run/writer-$1 _writer=$(cat "/run/writer-$1.pid")
	_wanted=$(($(rounds "$_who") + 2))
	for _ in $(seq 600); do
		[ "$(rounds "$_who")" -lt $_wanted ] && kill -0 "$_writer" 2>/dev/null || break
		sleep 0.1
	done
	touch "$_who.stop"
	if wait "$_writer" && [ "$(rounds "$_who")" -ge $_wanted ]; then
		ok "$2"
	else
		fail "$2" "stopped at round $(rounds "$_who") of $_wanted: $(tr "\n" " " <"$_who.said" | cut -c1-600)"
	fi
}

drained() { dmsetup status "$1" | grep -q 'snapshot-merge [0-9]*/[0-9]* ' && dmsetup status "$1" | grep -q ' \([0-9]*\)/[0-9]* \1$'; }
merging() { dmsetup status "$1" | grep -q snapshot-merge; }
# ended NAME DEVICE: the merge ends by itself, soon after the kernel is done with it: who ends it looks ten times a second,
# but may still be starting, on a slow machine. LVM2 looks every 15 s.
ended() {
	for _ in $(seq 400); do
		drained "$2" && break
		merging "$2" || break
		sleep 0.05
	done
	_done=$(date +%s%N)
	for _ in $(seq 400); do
		merging "$2" || break
		sleep 0.05
	done
	_took=$((($(date +%s%N) - _done) / 1000000))
	if merging "$2"; then fail "$1" "nobody ended it"; elif [ $_took -gt 5000 ]; then fail "$1" "it took $_took ms"; else ok "$1"; fi
	fact "$1" "$_took ms"
}
