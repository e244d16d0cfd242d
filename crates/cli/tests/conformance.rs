//! What every command does the same way, one line per command (style.md, example 15).
//!
//! Goal: no command forgets help, exit codes, `--test`, or that an error leaves the disks as they were. Method: one macro
//! makes a test of each behaviour that a command claims; the behaviours are below it, once.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
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

use lab::Lab;

/// A command, and how it is called rightly (on a VG `vg` with `root`, its snapshot `snap`, and a file `in.raw`).
struct Case {
    name: &'static str,
    good: &'static [&'static str],
    /// A call that names a VG that is not there.
    missing: &'static [&'static str],
}

fn lab() -> Lab {
    let lab = Lab::with_vg(64);
    lab.ok(&["lvcreate", "-L", "8M", "-n", "root", "vg"]);
    lab.ok(&["lvcreate", "-s", "-L", "8M", "-n", "snap", "vg/root"]);
    lab.write("in.raw", &lab::random(1, 1 << 20));
    lab
}

impl Case {
    fn call<'a>(&'a self, arguments: &[&'a str]) -> Vec<&'a str> {
        [&[self.name], arguments].concat()
    }

    fn accepts_help(&self) {
        let text = Lab::empty(1).ok(&[self.name, "--help"]);
        assert!(text.contains("Usage:") && text.lines().count() > 5, "{text}");
        // First help line: imperative, no full stop.
        assert!(!text.lines().next().unwrap().ends_with('.'), "{text}");
    }

    fn rejects_unknown_option(&self) {
        let run = Lab::empty(1).run(&self.call(&["--nosuchoption"]));
        let said = format!("{}: unrecognized option '--nosuchoption'", self.name);
        run.failed_with(3, &[&said, "  Error during parsing of command line."]);
    }

    fn missing_vg_is_named(&self) {
        let lab = lab();
        lab.run(&self.call(self.missing)).failed_with(5, &["Volume group \"nosuch\" not found"]);
    }

    fn leaves_disks_untouched_on_error(&self) {
        let lab = lab();
        let before = lab.fingerprint();
        assert_ne!(lab.run(&self.call(self.missing)).code, Some(0));
        assert_ne!(lab.run(&self.call(&["--nosuchoption"])).code, Some(0));
        assert_eq!(lab.fingerprint(), before);
    }

    fn test_mode_writes_nothing(&self) {
        let lab = lab();
        let before = lab.fingerprint();
        let run = lab.run(&self.call(&[self.good, &["--test", "-y"]].concat()));
        assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
        assert!(run.stderr.starts_with("  TEST MODE: Metadata will NOT be updated"), "{}", run.stderr);
        assert_eq!(lab.fingerprint(), before);
    }

    fn reads_only(&self) {
        let lab = lab();
        let before = lab.fingerprint();
        lab.ok(&self.call(self.good));
        assert_eq!(lab.fingerprint(), before);
    }

    fn json_parses(&self) {
        let lab = lab();
        let text = lab.ok(&self.call(&[self.good, &["--reportformat", "json"]].concat()));
        let parsed: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert!(parsed.is_object(), "{text}");
    }

    fn answers_to_its_own_name(&self) {
        let lab = lab();
        let link = lab.path(self.name);
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_foldback"), &link).unwrap();
        let mut command = std::process::Command::new(link);
        let output = command.arg("--nosuchoption").current_dir(lab.path("")).output().unwrap();
        assert_eq!(output.status.code(), Some(3));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.starts_with(&format!("{}: unrecognized option", self.name)), "{said}");
    }

    fn says_how_disks_are_named(&self) {
        let lab = lab();
        let output = lab.command(&self.call(self.good)).env_remove("FOLDBACK_DEVICES").output().unwrap();
        assert_eq!(output.status.code(), Some(3));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("--devices FILE"), "{said}");
    }

    fn a_missing_disk_is_named(&self) {
        let lab = lab();
        let run = lab.run(&self.call(&[self.good, &["--devices", "gone.img"]].concat()));
        run.failed_with(5, &["No device found for gone.img."]);
    }
}

macro_rules! conforms {
    ($($module:ident $case:expr => $($behaviour:ident),+;)+) => {
        $(mod $module {
            $(
                #[test]
                fn $behaviour() {
                    $case.$behaviour();
                }
            )+
        })+
    };
}

macro_rules! case {
    ($name:literal, $good:expr, $missing:expr) => {
        crate::Case { name: $name, good: &$good, missing: &$missing }
    };
}

conforms! {
    pvcreate case!("pvcreate", ["new.img"], ["nosuch.img"]) =>
        accepts_help, rejects_unknown_option, answers_to_its_own_name, leaves_disks_untouched_on_error;
    vgcreate case!("vgcreate", ["two", "new.img"], ["two", "nosuch.img"]) =>
        accepts_help, rejects_unknown_option, answers_to_its_own_name, leaves_disks_untouched_on_error;
    lvcreate case!("lvcreate", ["-L", "4M", "-n", "new", "vg"], ["-L", "4M", "-n", "new", "nosuch"]) =>
        accepts_help, rejects_unknown_option, answers_to_its_own_name, missing_vg_is_named,
        leaves_disks_untouched_on_error, test_mode_writes_nothing, says_how_disks_are_named, a_missing_disk_is_named;
    lvcreate_snapshot case!("lvcreate", ["-s", "-l", "2", "-n", "new", "vg/root"], ["-s", "-l", "2", "nosuch/root"]) =>
        missing_vg_is_named, leaves_disks_untouched_on_error, test_mode_writes_nothing;
    lvremove case!("lvremove", ["vg/root"], ["nosuch/root"]) =>
        accepts_help, rejects_unknown_option, answers_to_its_own_name, missing_vg_is_named,
        leaves_disks_untouched_on_error, test_mode_writes_nothing, says_how_disks_are_named, a_missing_disk_is_named;
    lvconvert case!("lvconvert", ["--merge", "vg/snap"], ["--merge", "nosuch/snap"]) =>
        accepts_help, rejects_unknown_option, answers_to_its_own_name, missing_vg_is_named,
        leaves_disks_untouched_on_error, test_mode_writes_nothing, says_how_disks_are_named, a_missing_disk_is_named;
    lvconvert_keep case!("lvconvert", ["--merge", "--namesnapshot", "vg/snap"], ["--merge", "--namesnapshot", "nosuch/snap"]) =>
        missing_vg_is_named, leaves_disks_untouched_on_error, test_mode_writes_nothing;
    lvconvert_undo case!("lvconvert", ["--merge", "--undo", "back", "vg/snap"], ["--merge", "--undo", "back", "nosuch/snap"]) =>
        missing_vg_is_named, leaves_disks_untouched_on_error, test_mode_writes_nothing;
    lvconvert_cancel case!("lvconvert", ["--cancel", "vg/snap"], ["--cancel", "nosuch/snap"]) =>
        missing_vg_is_named, leaves_disks_untouched_on_error;
    lvconvert_glue case!("lvconvert", ["-s", "vg/root", "vg/plain"], ["-s", "nosuch/root", "nosuch/plain"]) =>
        missing_vg_is_named, leaves_disks_untouched_on_error;
    lvconvert_split case!("lvconvert", ["--splitsnapshot", "vg/snap"], ["--splitsnapshot", "nosuch/snap"]) =>
        missing_vg_is_named, leaves_disks_untouched_on_error, test_mode_writes_nothing;
    lvcreate_sparse case!("lvcreate", ["-s", "-V", "1G", "-L", "8M", "-n", "new", "vg"], ["-s", "-V", "1G", "-L", "8M", "nosuch"]) =>
        missing_vg_is_named, leaves_disks_untouched_on_error, test_mode_writes_nothing;
    lvreduce case!("lvreduce", ["-l", "1", "vg/snap"], ["-l", "1", "nosuch/snap"]) =>
        accepts_help, rejects_unknown_option, answers_to_its_own_name, missing_vg_is_named,
        leaves_disks_untouched_on_error, test_mode_writes_nothing, says_how_disks_are_named, a_missing_disk_is_named;
    lvresize case!("lvresize", ["-L", "4M", "vg/snap"], ["-L", "4M", "nosuch/snap"]) =>
        accepts_help, rejects_unknown_option, answers_to_its_own_name, missing_vg_is_named,
        leaves_disks_untouched_on_error, test_mode_writes_nothing, says_how_disks_are_named, a_missing_disk_is_named;
    lvchange_tag case!("lvchange", ["--addtag", "x", "vg/root"], ["--addtag", "x", "nosuch/root"]) =>
        missing_vg_is_named, leaves_disks_untouched_on_error, test_mode_writes_nothing;
    vgchange_tag case!("vgchange", ["--addtag", "x", "vg"], ["--addtag", "x", "nosuch"]) =>
        missing_vg_is_named, leaves_disks_untouched_on_error, test_mode_writes_nothing;
    vgremove case!("vgremove", ["vg"], ["nosuch"]) =>
        accepts_help, rejects_unknown_option, answers_to_its_own_name, missing_vg_is_named,
        leaves_disks_untouched_on_error, test_mode_writes_nothing, says_how_disks_are_named, a_missing_disk_is_named;
    pvremove case!("pvremove", ["-ff", "disk.img"], ["nosuch.img"]) =>
        accepts_help, rejects_unknown_option, answers_to_its_own_name, leaves_disks_untouched_on_error,
        test_mode_writes_nothing;
    vgscan case!("vgscan", [], []) =>
        accepts_help, rejects_unknown_option, answers_to_its_own_name, reads_only, says_how_disks_are_named,
        a_missing_disk_is_named;
    vgmknodes case!("vgmknodes", ["vg"], ["nosuch"]) =>
        accepts_help, rejects_unknown_option, answers_to_its_own_name, missing_vg_is_named,
        leaves_disks_untouched_on_error, test_mode_writes_nothing, says_how_disks_are_named, a_missing_disk_is_named;
    pvscan case!("pvscan", [], []) =>
        accepts_help, rejects_unknown_option, answers_to_its_own_name, reads_only, says_how_disks_are_named,
        a_missing_disk_is_named;
    lvscan case!("lvscan", [], []) =>
        accepts_help, rejects_unknown_option, answers_to_its_own_name, reads_only, says_how_disks_are_named,
        a_missing_disk_is_named;
    lvmconfig case!("lvmconfig", [], []) => accepts_help, rejects_unknown_option, answers_to_its_own_name, reads_only;
    segtypes case!("segtypes", [], []) => accepts_help, rejects_unknown_option, answers_to_its_own_name, reads_only;
    trial case!("trial", ["start", "-L", "8M", "vg/root"], ["start", "-L", "8M", "nosuch/root"]) =>
        accepts_help, missing_vg_is_named, leaves_disks_untouched_on_error, test_mode_writes_nothing;
    lvs case!("lvs", ["vg"], ["nosuch"]) =>
        accepts_help, rejects_unknown_option, answers_to_its_own_name, missing_vg_is_named, reads_only, json_parses,
        says_how_disks_are_named, a_missing_disk_is_named;
    vgs case!("vgs", ["vg"], ["nosuch"]) =>
        accepts_help, rejects_unknown_option, answers_to_its_own_name, missing_vg_is_named, reads_only, json_parses,
        says_how_disks_are_named, a_missing_disk_is_named;
    pvs case!("pvs", ["disk.img"], ["nosuch"]) =>
        accepts_help, rejects_unknown_option, answers_to_its_own_name, reads_only, json_parses,
        says_how_disks_are_named, a_missing_disk_is_named;
    metrics case!("metrics", [], []) => accepts_help, rejects_unknown_option, answers_to_its_own_name;
    watch case!("watch", ["vg"], ["nosuch"]) =>
        accepts_help, rejects_unknown_option, answers_to_its_own_name, missing_vg_is_named, reads_only,
        says_how_disks_are_named, a_missing_disk_is_named;
    map case!("map", ["vg/snap"], ["nosuch/snap"]) =>
        accepts_help, rejects_unknown_option, answers_to_its_own_name, missing_vg_is_named, reads_only,
        says_how_disks_are_named, a_missing_disk_is_named;
    check case!("check", ["vg/snap"], ["nosuch/snap"]) =>
        accepts_help, rejects_unknown_option, answers_to_its_own_name, missing_vg_is_named, reads_only, json_parses,
        says_how_disks_are_named, a_missing_disk_is_named;
    export case!("export", ["vg/snap", "out.raw"], ["nosuch/snap", "out.raw"]) =>
        accepts_help, rejects_unknown_option, answers_to_its_own_name, missing_vg_is_named, reads_only,
        test_mode_writes_nothing, says_how_disks_are_named, a_missing_disk_is_named;
    import case!("import", ["in.raw", "vg/root"], ["in.raw", "nosuch/root"]) =>
        accepts_help, rejects_unknown_option, answers_to_its_own_name, missing_vg_is_named,
        leaves_disks_untouched_on_error, test_mode_writes_nothing, says_how_disks_are_named, a_missing_disk_is_named;
    demo case!("demo", [], []) => accepts_help, rejects_unknown_option, answers_to_its_own_name;
}

#[test]
fn an_unknown_command_ends_with_2() {
    Lab::empty(1).run(&["nosuchcmd"]).failed_with(2, &["  No such command.  Try 'foldback help'."]);
}

#[test]
fn no_command_shows_what_there_is() {
    let run = Lab::empty(1).run(&[]);
    run.failed_with(3, &["lvconvert", "demo"]);
}
