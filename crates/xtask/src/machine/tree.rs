//! The system that the machine boots: Debian of this machine's own release, made once and kept below the target directory.
//!
//! Holds: it is complete or not there, and is made anew when the packages or the script that prepares it change. The mirror is the one
//! that apt uses here.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::emulator::Emulator;
use crate::{places, rig};

const PREPARE: &str = include_str!("../../../../rig/machine/tree.sh");
/// What is on the machine besides the smallest Debian. `initramfs-tools` makes the initrd, with LVM2's own hooks; strace and the like
/// are left out on purpose: each second of a boot is paid in each run.
const PACKAGES: &str = "systemd-sysv,udev,dbus,lvm2,dmsetup,e2fsprogs,kmod,mount,fuse3,zstd,initramfs-tools,linux-image-cloud-amd64";
/// Size of its file system; what is on it takes less than half.
const SIZE: &str = "700M";

/// A system that can be booted, and the emulator to boot it with.
#[derive(Debug)]
pub(crate) struct System {
    pub(super) emulator: Emulator,
    /// The root file system, never to be written to.
    pub(super) root: PathBuf,
    pub(super) kernel: PathBuf,
    pub(super) initrd: PathBuf,
}

/// Why no system can be made or booted here, if so.
pub(super) fn hindrance() -> Option<String> {
    if std::env::consts::ARCH != "x86_64" {
        return Some("the emulated machine is an x86_64 and runs this machine's programs".to_owned());
    }
    let missing: Vec<&str> =
        [("debootstrap", "debootstrap"), ("mkfs.ext4", "e2fsprogs"), ("qemu-img", "qemu-utils")]
            .iter()
            .filter(|(program, _)| rig::find(program).is_none())
            .map(|(_, package)| *package)
            .collect();
    if !missing.is_empty() {
        return Some(format!("missing Debian packages: {}", missing.join(" ")));
    }
    (!rustix::process::geteuid().is_root())
        .then(|| "not root: debootstrap makes device nodes and changes roots".to_owned())
}

/// The system of an earlier run, or a new one. The inner error says why there is none.
pub(super) fn build(emulator: Emulator) -> Result<Result<System, String>> {
    let dir =
        std::path::absolute(places::target()?.join("machine")).context("finding the target directory")?;
    places::make(&dir)?;
    let (root, kernel, initrd) = (dir.join("root.img"), dir.join("vmlinuz"), dir.join("initrd.img"));
    let made_from = dir.join("made-from");
    let wanted = format!("{PACKAGES}\n{SIZE}\n{PREPARE}");
    if std::fs::read_to_string(&made_from).is_ok_and(|made| made == wanted) {
        return Ok(Ok(System { emulator, root, kernel, initrd }));
    }
    println!("making the system that the machine boots, from Debian's packages: some minutes, once");
    std::fs::remove_file(&made_from).ok();
    let tree = dir.join("tree");
    let source = match source() {
        Ok(source) => source,
        Err(error) => return Ok(Err(format!("no mirror to make a Debian from: {error:#}"))),
    };
    if let Err(error) = debootstrap(&source, &tree, &dir) {
        return Ok(Err(format!("debootstrap made no Debian: {error:#}")));
    }
    prepare(&tree, &dir)?;
    for (name, to) in [("vmlinuz-", &kernel), ("initrd.img-", &initrd)] {
        let from = only(&tree.join("boot"), name)?;
        std::fs::copy(&from, to).with_context(|| format!("copying {}", from.display()))?;
    }
    std::fs::remove_file(&root).ok();
    let mut mkfs = Command::new("mkfs.ext4");
    mkfs.args(["-q", "-F", "-L", "rig-root", "-E", "lazy_itable_init=0,lazy_journal_init=0", "-d"]);
    run(mkfs.arg(&tree).arg(&root).arg(SIZE), &dir.join("mkfs.log"))?;
    std::fs::remove_dir_all(&tree).with_context(|| format!("removing {}", tree.display()))?;
    std::fs::write(&made_from, wanted).with_context(|| format!("writing {}", made_from.display()))?;
    Ok(Ok(System { emulator, root, kernel, initrd }))
}

/// The release that this machine runs, whose C library the program was built for, and a mirror that apt has of it.
struct Source {
    suite: String,
    mirror: String,
}

fn source() -> Result<Source> {
    let release = std::fs::read_to_string("/etc/os-release").context("reading /etc/os-release")?;
    let suite = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    let suite = suite.context("/etc/os-release has no VERSION_CODENAME")?.trim_matches('"').to_owned();
    let mut command = Command::new("apt-get");
    command.args([
        "indextargets",
        "--format",
        "$(CODENAME) $(COMPONENT) $(REPO_URI)",
        "Created-By: Packages",
    ]);
    let output = command.output().context("asking apt-get for its sources")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mirror = mirror_of(&text, &suite).with_context(|| format!("apt has no source for {suite}"))?;
    Ok(Source { suite, mirror: mirror.to_owned() })
}

fn mirror_of<'a>(targets: &'a str, suite: &str) -> Option<&'a str> {
    targets.lines().find_map(|line| line.strip_prefix(suite)?.strip_prefix(" main "))
}

fn debootstrap(source: &Source, tree: &Path, dir: &Path) -> Result<()> {
    if tree.exists() {
        std::fs::remove_dir_all(tree).with_context(|| format!("removing {}", tree.display()))?;
    }
    let mut command = Command::new("debootstrap");
    command.args(["--variant=minbase", &format!("--include={PACKAGES}"), &source.suite]);
    run(command.arg(tree).arg(&source.mirror), &dir.join("debootstrap.log"))
}

fn prepare(tree: &Path, dir: &Path) -> Result<()> {
    let script = dir.join("tree.sh");
    std::fs::write(&script, PREPARE).with_context(|| format!("writing {}", script.display()))?;
    run(Command::new("sh").arg(&script).arg(tree), &dir.join("prepare.log"))
}

/// Runs a command with what it says in a file.
fn run(command: &mut Command, log: &Path) -> Result<()> {
    let file = std::fs::File::create(log).with_context(|| format!("making {}", log.display()))?;
    let errors = file.try_clone().context("sharing the log")?;
    let status = command.stdin(std::process::Stdio::null()).stdout(file).stderr(errors).status();
    let program = command.get_program().display().to_string();
    let status = status.with_context(|| format!("starting {program}"))?;
    ensure!(status.success(), "{program}: {status}, see {}", log.display());
    Ok(())
}

fn only(dir: &Path, prefix: &str) -> Result<PathBuf> {
    let entries = std::fs::read_dir(dir).with_context(|| format!("listing {}", dir.display()))?;
    let mut found = entries.filter_map(Result::ok).map(|entry| entry.path()).filter(|path| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(prefix))
    });
    match (found.next(), found.next()) {
        (Some(path), None) => Ok(path),
        _ => bail!("not exactly one {prefix}* in {}", dir.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::mirror_of;

    #[test]
    fn the_mirror_of_the_release_itself_is_taken_and_not_one_of_its_updates() {
        let targets = "rel-updates main http://a/debian/\nrel contrib http://b/\nrel main http://c/debian/\n";
        assert_eq!(mirror_of(targets, "rel"), Some("http://c/debian/"));
        assert_eq!(mirror_of(targets, "other"), None);
    }
}
