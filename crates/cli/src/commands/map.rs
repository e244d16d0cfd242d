//! `map`: which parts of a volume its snapshots keep, or a merge has done. Reads, never writes.
//!
//! What must hold:
//! - One volume, active or not; a snapshot that merges is shown with its origin.
//! - With `--svg` the picture is the result, and a file is replaced only as a whole.

use super::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::map::{Reader, Signs, svg, text};
use crate::names::Target;
use crate::session::Session;
use clap::Args;
use foldback_device::Access;
use std::path::Path;

/// Show which parts of a volume its snapshots keep, or a merge has done
#[derive(Args, Debug)]
#[command(
    after_help = "A snapshot: where it differs from its origin. An origin: what any of its snapshots keeps. An origin \
                  that a snapshot merges into: what is left, and what was merged since the volume was \
                  activated.\n\nExamples:\n  foldback map vg/root\n  foldback map vg/snap --svg snap.svg\n  foldback \
                  map vg/root --svg - | rsvg-convert > root.png"
)]
pub(crate) struct Map {
    /// Write a picture to this file instead; -: to standard output
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    svg: Option<String>,
    /// Use letters, whatever the terminal can show
    #[arg(long, conflicts_with = "svg")]
    ascii: bool,
    /// The volume or snapshot
    #[arg(value_name = "VG/LV")]
    volume: String,
}

impl Map {
    pub(crate) fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let Target::Lv(vg, lv) = Target::parse(&self.volume)? else {
            return Err(CliError::usage(&context.command, format!("Name a volume as VG/{}.", self.volume)));
        };
        let mut session = Session::open(&context.options, Access::Read)?;
        let discovery = session.discover();
        if let Some(file) = self.svg.as_deref().filter(|file| *file != "-") {
            session.refuse_own_disk(file)?;
        }
        let map = Reader { session: &mut session, discovery: &discovery }.map(&vg, &lv)?;
        match self.svg.as_deref() {
            None => {
                let signs = if self.ascii { Signs::Ascii } else { Signs::of_locale() };
                context.console.result(&text(&map, signs));
            }
            Some("-") => context.console.result(&svg(&map)),
            Some(file) => {
                write_whole(file, &svg(&map))
                    .map_err(|error| CliError::failed(format!("writing {file}: {error}.")))?;
                context.console.say(&format!("Map of {} written to {file}.", map.name));
            }
        }
        Ok(Exit::Success)
    }
}

/// What a name leads to is replaced when the new content is complete; what is no plain file (`/dev/stdout`) is written to.
fn write_whole(file: &str, content: &str) -> std::io::Result<()> {
    let path = Path::new(file);
    if std::fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        return std::fs::write(path, content);
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut new = tempfile::Builder::new().permissions(permissions()).tempfile_in(folder)?;
    std::io::Write::write_all(&mut new, content.as_bytes())?;
    new.persist(path)?;
    Ok(())
}

/// For everybody, as far as the umask lets.
fn permissions() -> std::fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o666)
}
