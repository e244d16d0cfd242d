//! The daemon under systemd (architecture.md, "Processes"; dist/systemd/README.md).
//!
//! Goal: the units are right, the daemon takes a passed socket and tells when it is ready, and a command lets systemd start
//! it where systemd runs. Method: systemd's own tools without systemd as the first process; for the last, a mount
//! namespace in which `/run` looks as if it were, with stand-ins for `systemctl` and `systemd-run`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed step fails the test"
)]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    reason = "test code"
)]

mod lab;

use lab::live::Live;
use lab::skip;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

const PROGRAM: &str = env!("CARGO_BIN_EXE_foldback");
const UNITS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../dist/systemd");

fn is_there(program: &str) -> bool {
    Command::new("sh").args(["-c", &format!("command -v {program}")]).output().unwrap().status.success()
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    if !is_there("systemd-analyze") {
        return skip("systemd_finds_nothing_wrong_with_the_units", "there is no systemd-analyze");
    }
    for (kind, scope) in [("system", "--system"), ("user", "--user")] {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("systemd-analyze");
        command.args([scope, "verify", "--man=no"]).env("XDG_RUNTIME_DIR", folder.path());
        let of_kind = if kind == "system" { vec!["foldback-finish.service"] } else { Vec::new() };
        for unit in ["foldback.service", "foldback.socket"].into_iter().chain(of_kind) {
            let text = fs::read_to_string(Path::new(UNITS).join(kind).join(unit)).unwrap();
            let here = folder.path().join(unit);
            // The program is not installed while it is tested.
            fs::write(&here, text.replace("/usr/bin/foldback", PROGRAM)).unwrap();
            command.arg(here);
        }
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{kind}: {said}");
    }
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[test]
fn a_passed_socket_is_served_and_left() {
    if !is_there("systemd-socket-activate") {
        return skip("a_passed_socket_is_served_and_left", "there is no systemd-socket-activate");
    }
    let live = Live::new("passed", 64);
    live.ok("lvcreate -L 16M -n root VG");
    let (run, told) = (live.lab.path("run"), live.lab.path("notify"));
    fs::create_dir(&run).unwrap();
    let socket = run.join("api.sock");
    let manager = UnixDatagram::bind(&told).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut command = Command::new("systemd-socket-activate");
    command.arg("-l").arg(&socket).arg("-E").arg(format!("NOTIFY_SOCKET={}", told.display()));
    command.arg("-E").arg(format!("FOLDBACK_RUN_DIR={}", run.display()));
    let started = command.args([PROGRAM, "daemon"]).stderr(Stdio::null()).spawn().unwrap();
    let mut started = Running(started);
    let begun = Instant::now();
    while !socket.exists() {
        assert!(begun.elapsed() < Duration::from_secs(20), "nobody listens");
        sleep(Duration::from_millis(20));
    }
    live.ok("vgchange -ay VG");
    let hear = || {
        let mut said = [0; 256];
        let len = manager.recv(&mut said).unwrap();
        String::from_utf8_lossy(&said[..len]).trim().to_owned()
    };
    assert_eq!(hear(), "READY=1");
    assert_eq!(
        live.daemon().unwrap().as_raw_nonzero().get().cast_unsigned(),
        started.0.id(),
        "no other daemon was started"
    );
    live.ok("vgchange -an VG");
    assert_eq!(hear(), "STOPPING=1");
    assert!(started.0.wait().unwrap().success());
    assert!(socket.exists(), "the socket is the manager's");
    fs::remove_file(socket).unwrap();
}

/// What stands in for systemd: no unit is installed, and what shall run as a transient one runs.
const STAND_IN: &str = r#"
mount -t tmpfs tmp /run
mkdir -p /run/systemd/system "$LAB/bin"
cat >"$LAB/bin/systemctl" <<'END'
#!/bin/sh
echo "systemctl $*" >>"$LAB/asked"
exit 5
END
cat >"$LAB/bin/systemd-run" <<'END'
#!/bin/sh
echo "systemd-run $*" >>"$LAB/asked"
while [ "$1" != "$PROGRAM" ]; do shift; done
setsid "$@" >"$LAB/said" 2>&1 &
END
chmod +x "$LAB/bin/systemctl" "$LAB/bin/systemd-run"
PATH="$LAB/bin:$PATH"
unset FOLDBACK_RUN_DIR
"$PROGRAM" vgchange -ay "$VG"
test -S /run/foldback/api.sock
"$PROGRAM" vgchange -an "$VG"
test ! -e /run/foldback/daemon.log
"#;

#[test]
fn where_systemd_runs_it_starts_the_daemon() {
    let test = "where_systemd_runs_it_starts_the_daemon";
    if !rustix::process::geteuid().is_root() {
        return skip(test, "it needs root");
    }
    let live = Live::new("unit", 64);
    live.ok("lvcreate -L 16M -n root VG");
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-ec", STAND_IN]);
    command.env("LAB", live.lab.path("")).env("VG", &live.vg).env("PROGRAM", PROGRAM);
    command.env("FOLDBACK_DEVICES", live.lab.path("disk.img"));
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let asked = fs::read_to_string(live.lab.path("asked")).unwrap_or_default();
    assert!(output.status.success(), "{said}\n{asked}");
    let lines: Vec<&str> = asked.lines().collect();
    assert_eq!(lines[0], "systemctl --system --no-ask-password start foldback.service");
    assert!(lines[1].starts_with("systemd-run --system") && lines[1].contains("--collect"), "{asked}");
    assert_eq!(lines.len(), 2);
}

/// systemd spares a process whose `argv[0]` begins with `@`: one that carries the root file system is started so.
#[test]
fn the_first_word_may_begin_with_an_at_sign() {
    let output = Command::new(PROGRAM).arg0("@foldback").args(["daemon", "--help"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
