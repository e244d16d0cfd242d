//! What the demo does, step by step, in a user's words.
//!
//! What must hold: what the module says; each step tells what it is for, shows its commands, and how long it took.

use super::system::{DAMAGED, Damage, content, debugfs_script, files, upgraded, write};
use super::tools::{Killed, Tools};
use crate::console::Console;
use crate::error::CliError;
use crate::interrupt::Interrupt;
use crate::progress::bytes_in_words;
use std::fs;
use std::path::Path;
use std::time::Instant;

/// How large the volume is.
const VOLUME: &str = "192M";

/// The demo under way.
struct Demo<'d> {
    console: Console,
    interrupt: &'d Interrupt,
    tools: Tools,
    step: u32,
    since: Instant,
}

/// Tells it, in the folder `folder`, which is empty.
pub(crate) fn tell(console: Console, interrupt: &Interrupt, folder: &Path) -> Result<(), CliError> {
    let tools = Tools::new(folder)?;
    let begun = Instant::now();
    let mut demo = Demo { console, interrupt, tools, step: 0, since: begun };
    demo.say("An upgrade goes wrong, and the snapshot taken before it brings everything");
    demo.say("back. No root, no device-mapper: all of it happens in one file,");
    demo.say(&format!("{}.", folder.join("disk.img").display()));
    demo.make_volume()?;
    demo.snapshot()?;
    demo.upgrade()?;
    demo.merge_with_power_cut()?;
    demo.all_is_back()?;
    console.result("\n");
    demo.say(&format!(
        "Done in {:.1} seconds. On your own disks it is the same two commands:",
        begun.elapsed().as_secs_f64()
    ));
    demo.say("  foldback --devices DISK lvcreate -s -l 20%ORIGIN -n before VG/root");
    demo.say("  foldback --devices DISK lvconvert --merge VG/before");
    Ok(())
}

fn failed(attempt: &str, error: &std::io::Error) -> CliError {
    CliError::failed(format!("{attempt}: {error}."))
        .hint("the demo needs about 800 MB in the temporary folder; TMPDIR names another one")
}

impl Demo<'_> {
    fn say(&self, text: &str) {
        self.console.say(text);
    }

    fn begin(&mut self, title: &str) -> Result<(), CliError> {
        self.interrupt.check()?;
        self.step = self.step.saturating_add(1);
        self.since = Instant::now();
        self.console.result("\n");
        self.say(&format!("{}. {title}", self.step));
        Ok(())
    }

    fn took(&self) {
        self.say(&format!("   ({:.1} s)", self.since.elapsed().as_secs_f64()));
    }

    /// Shows a command and what it says.
    fn show(&self, command: &str) {
        self.say(&format!("   $ {command}"));
    }

    fn foldback(&self, arguments: &[&str]) -> Result<(), CliError> {
        self.interrupt.check()?;
        self.show(&format!("foldback {}", arguments.join(" ")));
        for line in self.tools.foldback(arguments)?.lines() {
            self.say(&format!("   {line}"));
        }
        Ok(())
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.tools.folder.join(name)
    }

    fn remove(&self, name: &str) -> Result<(), CliError> {
        let path = self.path(name);
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.map_err(|error| failed(&format!("removing {name}"), &error))
    }

    fn make_volume(&mut self) -> Result<(), CliError> {
        self.begin("A disk with a volume group, and on it the volume of a small computer:")?;
        let files = files();
        for file in &files {
            write(&self.path("system"), &file.path, &content(file, false))
                .map_err(|error| failed("writing the system's files", &error))?;
        }
        let paths: Vec<String> = files.iter().map(|file| file.path.clone()).collect();
        let list = self.tools.checksums("system", &paths)?;
        fs::write(self.path("before.sha256"), list).map_err(|error| failed("writing checksums", &error))?;
        let total: u64 = files.iter().map(|file| u64::try_from(file.len).unwrap_or(0)).sum();
        self.show("truncate -s 1G disk.img; export FOLDBACK_DEVICES=disk.img");
        let disk = fs::File::create(self.path("disk.img")).and_then(|file| file.set_len(1 << 30));
        disk.map_err(|error| failed("making disk.img", &error))?;
        self.foldback(&["vgcreate", "demo", "disk.img"])?;
        self.foldback(&["lvcreate", "-L", VOLUME, "-n", "root", "demo"])?;
        self.show(&format!("mkfs.ext4 -d system/ root.img {VOLUME}"));
        self.tools.make_ext4("system", "root.img", VOLUME)?;
        self.say(&format!("     {} files, {}", files.len(), bytes_in_words(total)));
        self.foldback(&["import", "root.img", "demo/root"])?;
        self.remove("root.img")?;
        self.remove("system")?;
        self.took();
        Ok(())
    }

    fn snapshot(&mut self) -> Result<(), CliError> {
        self.begin("A snapshot before the upgrade, called \"before\":")?;
        self.foldback(&["lvcreate", "-s", "-l", "100%ORIGIN", "-n", "before", "demo/root"])?;
        self.took();
        Ok(())
    }

    fn upgrade(&mut self) -> Result<(), CliError> {
        self.begin("The upgrade replaces programs and libraries, and breaks some files:")?;
        let files = files();
        let new = self.path("new");
        for file in &files {
            let put = upgraded(file).map_or(Ok(()), |content| write(&new, &file.path, &content));
            put.map_err(|error| failed("writing the upgrade's files", &error))?;
        }
        fs::write(self.path("upgrade.debugfs"), debugfs_script(&files, Path::new("new")))
            .map_err(|error| failed("writing the upgrade's script", &error))?;
        self.foldback(&["export", "demo/root", "work.img"])?;
        self.show("debugfs -w -f upgrade.debugfs work.img");
        self.tools.edit_ext4("upgrade.debugfs", "work.img")?;
        self.remove("new")?;
        self.foldback(&["import", "work.img", "demo/root"])?;
        self.remove("work.img")?;
        self.what_is_broken()?;
        self.took();
        Ok(())
    }

    /// Compares the volume with what the upgrade should have left.
    fn what_is_broken(&self) -> Result<(), CliError> {
        let files = files();
        for file in &files {
            write(&self.path("should"), &file.path, &content(file, file.replaced))
                .map_err(|error| failed("writing what the upgrade promised", &error))?;
        }
        let paths: Vec<String> = files.iter().map(|file| file.path.clone()).collect();
        let list = self.tools.checksums("should", &paths)?;
        self.remove("should")?;
        fs::write(self.path("upgrade.sha256"), list).map_err(|error| failed("writing checksums", &error))?;
        let changed = self.unpacked(|tools| tools.differing("before.sha256", "now"))?;
        let broken = self.unpacked(|tools| tools.differing("upgrade.sha256", "now"))?;
        self.say(&format!(
            "   {} of {} files are not what they were. Of these are broken:",
            changed.len(),
            files.len()
        ));
        for path in &broken {
            let damage = DAMAGED.iter().find(|(damaged, _)| damaged == path).map(|(_, damage)| damage);
            let how = match damage {
                Some(Damage::Removed) => "gone",
                Some(Damage::Emptied) => "empty",
                Some(Damage::CutShort) => "cut short",
                Some(Damage::Garbled) => "wrong checksum",
                None => "broken by accident",
            };
            self.say(&format!("     /{path:<24} {how}"));
        }
        if broken.len() == DAMAGED.len() {
            return Ok(());
        }
        Err(CliError::failed(format!("{} files are broken, {} were to be.", broken.len(), DAMAGED.len())))
    }

    /// Takes the volume's files out and asks about them.
    fn unpacked<T>(&self, ask: impl FnOnce(&Tools) -> Result<T, CliError>) -> Result<T, CliError> {
        self.interrupt.check()?;
        self.tools.foldback(&["export", "demo/root", "look.img"])?;
        fs::create_dir(self.path("now")).map_err(|error| failed("making a folder", &error))?;
        self.tools.unpack_ext4("look.img", "now")?;
        let answer = ask(&self.tools)?;
        self.remove("now")?;
        self.remove("look.img")?;
        Ok(answer)
    }

    fn merge_with_power_cut(&mut self) -> Result<(), CliError> {
        self.begin("Fold the snapshot back. In the middle of it the power fails (kill -9):")?;
        let arguments = ["lvconvert", "--merge", "-i", "0", "demo/before"];
        self.show(&format!("foldback {}", arguments.join(" ")));
        // The line at 0.00% comes before anything is durable; the next one after the first window.
        let durable = |line: &str| line.contains("Merged: ") && !line.contains("Merged: 0.00%");
        let killed =
            self.tools.kill_foldback_at(&arguments, durable, |line| self.say(&format!("   {line}")))?;
        match killed {
            Killed::At(line) => self.say(&format!("   {line}   <- killed here")),
            Killed::TooLate => {
                return Err(CliError::failed("The merge was over before it could be killed."));
            }
        }
        let fields = "lv_name,lv_attr,lv_size,origin,lv_merging";
        self.foldback(&["lvs", "-a", "-o", fields, "demo"])?;
        self.took();
        self.begin("The power is back. The same command goes on where it stopped:")?;
        self.foldback(&arguments)?;
        self.foldback(&["lvs", "-a", "-o", fields, "demo"])?;
        self.took();
        Ok(())
    }

    fn all_is_back(&mut self) -> Result<(), CliError> {
        self.begin("Is everything back?")?;
        self.foldback(&["export", "demo/root", "after.img"])?;
        self.show("e2fsck -f -n after.img");
        let summary = self.tools.check_ext4("after.img")?;
        self.say(&format!("     {summary}"));
        fs::create_dir(self.path("after")).map_err(|error| failed("making a folder", &error))?;
        self.show("debugfs -R 'rdump / after/' after.img");
        self.tools.unpack_ext4("after.img", "after")?;
        self.show("cd after; sha256sum --quiet -c ../before.sha256");
        let wrong = self.tools.differing("before.sha256", "after")?;
        if !wrong.is_empty() {
            return Err(CliError::failed(format!("These are not as they were: {}", wrong.join(" "))));
        }
        let count = files().len();
        self.say(&format!("     all {count} files have the checksum they had before the upgrade"));
        self.took();
        Ok(())
    }
}
