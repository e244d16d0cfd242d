//! What is read of LVM2's configuration: where locks, backups and archives are, and who this host is.
//!
//! What must hold:
//! - `--config` goes before a profile, that before `lvm.conf`, and that before LVM2's defaults.
//! - The host's own `/etc/lvm` is not looked at for image files, unless `LVM_SYSTEM_DIR` says so (architecture.md,
//!   "Devices"); who reads the file decides that by what it gives to [`Config::read`].
//! - Keys that are not used here are not looked at, whatever they say.

mod honoured;
mod known;
mod listing;
mod profile;
mod show;
mod system_id;
mod validate;
mod volumes;

use crate::devices::{BadPattern, DeviceSettings, DevicesFile, Filter};
use crate::lock::{DEFAULT_LOCKING_DIR, LockWait};
use crate::ops::autoextend::Policy;
use foldback_lvm2_format::text::{self, Node, ParseError, Scalar, Section, Value};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use honoured::not_honoured;
pub use known::unknown;
pub use listing::Profile;
pub use profile::with_profile;
pub use show::{Kind, show};
pub use system_id::clean as clean_system_id;
pub use validate::invalid;
pub use volumes::VolumeLists;

/// Where LVM2's configuration is, unless `LVM_SYSTEM_DIR` says otherwise.
pub const DEFAULT_SYSTEM_DIR: &str = "/etc/lvm";
/// How long writes wait for room in a full store.
pub const DEFAULT_HOLD: Duration = Duration::from_secs(30);
/// Stands between the texts that one option holds, of which the first goes before the others.
const PART: char = '\u{1e}';
/// The bound for a configuration file.
const CONFIG_MAX: u64 = 4 << 20;

/// The settings that are used.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a setting of its own")]
pub struct Config {
    /// The section `devices`.
    pub devices: DeviceSettings,
    /// `global/locking_dir`.
    pub locking_dir: PathBuf,
    /// `global/wait_for_locks`.
    pub wait_for_locks: LockWait,
    /// `backup/backup`.
    pub backup: bool,
    /// `backup/archive`.
    pub archive: bool,
    /// `backup/backup_dir`, where it was set, or a system directory was named.
    pub backup_dir: Option<PathBuf>,
    /// `backup/archive_dir`, likewise.
    pub archive_dir: Option<PathBuf>,
    /// `backup/retain_min`: so many archives are kept, however old.
    pub retain_min: u64,
    /// `backup/retain_days`: archives younger than this are kept, however many.
    pub retain_days: u64,
    /// `activation/snapshot_autoextend_threshold` and `_percent`: when and by how much a store that fills is extended.
    pub snapshot_autoextend: Policy,
    /// `activation/monitoring`: whether stores are watched at all where the kernel carries them.
    pub monitoring: bool,
    /// `global/event_activation`: whether VGs come up by the events of their PVs.
    pub event_activation: bool,
    /// `foldback/hold_seconds`, a setting of our own: how long writes wait for room in a store that is full and could not be
    /// extended. Only where stores are extended at all.
    pub hold: Duration,
    /// `activation/polling_interval`, in seconds: how often the progress of a merge is told.
    pub polling_interval: u64,
    /// Which volumes may come up, and which of them read-only.
    pub volumes: VolumeLists,
    /// `global/metadata_read_only`: nothing may change metadata.
    pub metadata_read_only: bool,
    /// `activation/udev_sync`: whether udev is waited for.
    pub udev_sync: bool,
    /// `activation/udev_rules`: whether nodes and links are left to udev.
    pub udev_rules: bool,
    /// `global/activation`: whether the kernel's device-mapper is spoken to.
    pub activation: bool,
    /// The section `report`, and what `global` says of sizes.
    pub report: ReportSettings,
    /// What `global/system_id_source` leads to.
    pub system_id: Option<String>,
    /// What could not be found out of that.
    pub warnings: Vec<String>,
}

/// How reports are written where the command line does not say.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ReportSettings {
    /// `global/units`.
    pub units: Option<String>,
    /// `global/suffix`.
    pub suffix: Option<bool>,
    /// `report/headings`.
    pub headings: Option<bool>,
    /// `report/separator`.
    pub separator: Option<String>,
    /// `report/aligned`.
    pub aligned: Option<bool>,
    /// `report/prefixes`.
    pub prefixes: Option<bool>,
    /// `report/quoted`.
    pub quoted: Option<bool>,
    /// `report/time_format`, as strftime(3) takes it.
    pub time_format: Option<String>,
    /// `report/columns_as_rows`.
    pub columns_as_rows: Option<bool>,
    /// `report/binary_values_as_numeric`.
    pub binary: Option<bool>,
    /// `report/output_format`.
    pub output_format: Option<String>,
    /// `report/*_cols*` and `report/*_sort`, by their keys.
    pub layouts: BTreeMap<String, String>,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not a configuration.
    #[error("Failed to parse config from {place}: {source}")]
    Parse {
        /// The file, or `--config`.
        place: String,
        /// Where and why.
        source: ParseError,
    },
    /// The file cannot be read.
    #[error("reading {place}: {source}")]
    Read {
        /// The file.
        place: String,
        /// Why.
        source: std::io::Error,
    },
    /// A filter.
    #[error(transparent)]
    Filter(#[from] BadPattern),
}

impl Config {
    /// From `lvm.conf` and `lvmlocal.conf` in `system_dir`, where one is given and they are there, and from `--config`.
    pub fn read(system_dir: Option<&Path>, option: Option<&str>) -> Result<Self, ConfigError> {
        let sources = sources(system_dir, option)?;
        let settings = Settings(&sources);
        let directory = |key: &str, name: &str| {
            let set = settings.text("backup", key).map(PathBuf::from);
            set.or_else(|| system_dir.map(|directory| directory.join(name)))
        };
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let (system_id, warnings) = system_id::system_id(&settings, &host);
        let yes = |section, key| settings.number(section, key).unwrap_or(1) != 0;
        let locking_dir = settings.text("global", "locking_dir");
        let waits = settings.number("global", "wait_for_locks").unwrap_or(1) != 0;
        Ok(Self {
            devices: devices(&settings, system_dir)?,
            locking_dir: locking_dir.map_or_else(|| PathBuf::from(DEFAULT_LOCKING_DIR), PathBuf::from),
            wait_for_locks: if waits { LockWait::Wait } else { LockWait::Fail },
            backup: settings.number("backup", "backup").unwrap_or(1) != 0,
            archive: settings.number("backup", "archive").unwrap_or(1) != 0,
            backup_dir: directory("backup_dir", "backup"),
            archive_dir: directory("archive_dir", "archive"),
            retain_min: settings.number("backup", "retain_min").unwrap_or(10),
            retain_days: settings.number("backup", "retain_days").unwrap_or(30),
            snapshot_autoextend: snapshot_autoextend(&settings),
            monitoring: settings.number("activation", "monitoring").unwrap_or(1) != 0,
            event_activation: settings.number("global", "event_activation").unwrap_or(1) != 0,
            hold: settings.number("foldback", "hold_seconds").map_or(DEFAULT_HOLD, Duration::from_secs),
            polling_interval: settings.number("activation", "polling_interval").unwrap_or(15),
            volumes: VolumeLists::read(&settings, volumes::host_tags(&sources, &host)),
            metadata_read_only: settings.number("global", "metadata_read_only").unwrap_or(0) != 0,
            udev_sync: yes("activation", "udev_sync"),
            udev_rules: yes("activation", "udev_rules"),
            activation: yes("global", "activation"),
            report: report(&settings),
            system_id,
            warnings,
        })
    }
}

/// Every configuration; what is looked at first wins.
fn sources(system_dir: Option<&Path>, option: Option<&str>) -> Result<Vec<Section>, ConfigError> {
    let mut sources = Vec::new();
    for part in option.into_iter().flat_map(|option| option.split(PART)) {
        sources.extend(parse_option(part)?);
    }
    let Some(directory) = system_dir else { return Ok(sources) };
    let mut files = Vec::new();
    for name in ["lvmlocal.conf", "lvm.conf"] {
        files.extend(read_file(&directory.join(name))?);
    }
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    for tag in volumes::host_tags(&files, &host) {
        if !tag.contains('/') {
            sources.extend(read_file(&directory.join(format!("lvm_{tag}.conf")))?);
        }
    }
    sources.extend(files);
    Ok(sources)
}

/// How reports are written.
fn report(settings: &Settings<'_>) -> ReportSettings {
    let text = |key: &str| settings.text("report", key);
    let number = |section: &str, key: &str| settings.number(section, key).map(|number| number != 0);
    let flag = |key| number("report", key);
    let mut layouts = BTreeMap::new();
    for kind in ["lvs", "vgs", "pvs", "segs", "pvsegs"] {
        for key in ["cols", "cols_verbose", "sort"].map(|what| format!("{kind}_{what}")) {
            if let Some(set) = text(&key) {
                layouts.insert(key, set);
            }
        }
    }
    ReportSettings {
        units: settings.text("global", "units"),
        suffix: number("global", "suffix"),
        headings: flag("headings"),
        separator: text("separator"),
        aligned: flag("aligned"),
        prefixes: flag("prefixes"),
        quoted: flag("quoted"),
        time_format: text("time_format"),
        columns_as_rows: flag("columns_as_rows"),
        binary: flag("binary_values_as_numeric"),
        output_format: text("output_format"),
        layouts,
    }
}

/// The section `devices`. A devices file that is not there limits nothing, as in LVM2.
fn devices(settings: &Settings<'_>, system_dir: Option<&Path>) -> Result<DeviceSettings, ConfigError> {
    let mut devices = DeviceSettings::default();
    if let Some(dir) = settings.text("devices", "dir") {
        devices.dir = PathBuf::from(dir);
        devices.scan = vec![devices.dir.clone()];
    }
    if let Some(scan) = settings.texts("devices", "scan") {
        devices.scan = scan.into_iter().map(PathBuf::from).collect();
    }
    let filter =
        |key| settings.texts("devices", key).map_or(Ok(Filter::default()), |texts| Filter::new(&texts));
    devices.filter = filter("filter")?;
    devices.global_filter = filter("global_filter")?;
    devices.scan_lvs = settings.number("devices", "scan_lvs").unwrap_or(0) != 0;
    if settings.number("devices", "use_devicesfile").unwrap_or(0) != 0
        && let Some(directory) = system_dir
    {
        let name = settings.text("devices", "devicesfile");
        let name = name.filter(|name| !name.is_empty()).unwrap_or_else(|| "system.devices".to_owned());
        let path = directory.join("devices").join(name);
        match std::fs::read_to_string(&path) {
            Ok(text) => devices.devices_file = Some(DevicesFile::parse(&text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => return Err(ConfigError::Read { place: path.display().to_string(), source }),
        }
    }
    Ok(devices)
}

/// LVM2 takes no threshold below 50, and none above 100 for more than off.
fn snapshot_autoextend(settings: &Settings<'_>) -> Policy {
    let number = |key, default| {
        let set = settings.number("activation", key).map(|set| u32::try_from(set).unwrap_or(u32::MAX));
        set.unwrap_or(default)
    };
    Policy {
        threshold: number("snapshot_autoextend_threshold", Policy::OFF)
            .clamp(Policy::THRESHOLD_MIN, Policy::OFF),
        percent: number("snapshot_autoextend_percent", 20),
    }
}

/// The sections of a file; none where it is not there.
fn read_file(path: &Path) -> Result<Vec<Section>, ConfigError> {
    let place = path.display().to_string();
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(ConfigError::Read { place, source }),
        Ok(found) if found.len() > CONFIG_MAX => {
            let source = std::io::Error::other("it is longer than a configuration can be");
            return Err(ConfigError::Read { place, source });
        }
        Ok(_) => {}
    }
    let bytes = std::fs::read(path).map_err(|source| ConfigError::Read { place: place.clone(), source })?;
    match text::parse(&bytes) {
        Ok(document) => Ok(vec![document.root]),
        // LVM2 takes `section/key=value` in files as well. What is no such file is told with the lines that it has.
        Err(source) => std::str::from_utf8(&bytes)
            .ok()
            .and_then(|text| parse_slashed(&without_comments(text)).ok())
            .ok_or(ConfigError::Parse { place, source }),
    }
}

/// Without what follows a `#` that is in no string.
fn without_comments(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for line in text.lines() {
        let mut quoted = false;
        let comment = line.find(|character| {
            quoted ^= character == '"';
            character == '#' && !quoted
        });
        plain.push_str(comment.and_then(|at| line.get(..at)).unwrap_or(line));
        plain.push('\n');
    }
    plain
}

/// The `--config` option: sections, or `section/key=value`, or both.
fn parse_option(option: &str) -> Result<Vec<Section>, ConfigError> {
    parse_slashed(option).map_err(|source| ConfigError::Parse { place: "--config".to_owned(), source })
}

/// A text in which a section and its key may stand together, what is looked at first being the first.
fn parse_slashed(text: &str) -> Result<Vec<Section>, ParseError> {
    let parse = |text: &str| text::parse(text.as_bytes()).map(|document| document.root);
    let mut sections = Vec::new();
    let mut rest = String::new();
    for part in split_slashed(text) {
        match part {
            Part::Plain(text) => rest.push_str(text),
            Part::Slashed { section, assignment } => {
                sections.push(parse(&format!("{section} {{\n{assignment}\n}}"))?);
            }
        }
    }
    sections.push(parse(&rest)?);
    Ok(sections)
}

enum Part<'a> {
    Plain(&'a str),
    Slashed { section: &'a str, assignment: &'a str },
}

/// Cuts `section/key=value` out of a text. Values are what LVM2's scripts give there: a word, a string, or a list.
fn split_slashed(text: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((plain, section, assignment, behind)) = next_slashed(rest) {
        parts.push(Part::Plain(plain));
        parts.push(Part::Slashed { section, assignment });
        rest = behind;
    }
    parts.push(Part::Plain(rest));
    parts
}

fn next_slashed(text: &str) -> Option<(&str, &str, &str, &str)> {
    let is_word = |character: char| character.is_ascii_alphanumeric() || character == '_';
    let mut quoted = false;
    for (at, character) in text.char_indices() {
        quoted ^= character == '"';
        if quoted || character != '/' {
            continue;
        }
        let (before, after) = text.split_at_checked(at)?;
        let start = before.rfind(|character| !is_word(character)).map_or(0, |at| at.saturating_add(1));
        let (plain, section) = before.split_at_checked(start)?;
        let assignment = after.get(1..)?;
        let equals = assignment.find('=')?;
        let key = assignment.get(..equals)?.trim();
        if section.is_empty() || key.is_empty() || !key.chars().all(is_word) {
            continue;
        }
        let value = assignment.get(equals.saturating_add(1)..)?;
        let len = value_len(value);
        let end = equals.saturating_add(1).saturating_add(len);
        return Some((plain, section, assignment.get(..end)?, assignment.get(end..)?));
    }
    None
}

/// How many bytes of the text are its first value.
fn value_len(text: &str) -> usize {
    let start = text.len().saturating_sub(text.trim_start().len());
    let mut quoted = false;
    let mut depth = 0_u32;
    for (at, character) in text.char_indices().filter(|(at, _)| *at >= start) {
        quoted ^= character == '"';
        match character {
            _ if quoted => {}
            '[' => depth = depth.saturating_add(1),
            ']' => depth = depth.saturating_sub(1),
            _ if depth == 0 && (character.is_whitespace() || character == '}') => return at,
            _ => {}
        }
    }
    text.len()
}

struct Settings<'a>(&'a [Section]);

impl Settings<'_> {
    fn scalar(&self, section: &str, key: &str) -> Option<&Scalar> {
        self.0.iter().find_map(|source| match source.section(section)?.get(key)? {
            Node::Value(Value::Scalar(scalar)) => Some(scalar),
            _ => None,
        })
    }

    fn text(&self, section: &str, key: &str) -> Option<String> {
        match self.scalar(section, key)? {
            Scalar::Str(text) => Some(text.clone()),
            _ => None,
        }
    }

    /// A list of strings; one string is a list of one.
    fn texts(&self, section: &str, key: &str) -> Option<Vec<String>> {
        let text = |scalar: &Scalar| match scalar {
            Scalar::Str(text) => Some(text.clone()),
            _ => None,
        };
        self.0.iter().find_map(|source| match source.section(section)?.get(key)? {
            Node::Value(Value::Scalar(scalar)) => Some(text(scalar).into_iter().collect()),
            Node::Value(Value::Array(scalars)) => Some(scalars.iter().filter_map(text).collect()),
            Node::Section(_) => None,
        })
    }

    fn number(&self, section: &str, key: &str) -> Option<u64> {
        match self.scalar(section, key)? {
            Scalar::Int(number) => u64::try_from(*number).ok(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Config;
    use crate::lock::LockWait;
    use crate::ops::autoextend::Policy;
    use std::path::Path;
    use std::time::Duration;

    #[test]
    fn without_anything_lvm2s_defaults_hold() {
        let config = Config::read(None, None).unwrap();
        assert_eq!(config.locking_dir, Path::new("/run/lock/lvm"));
        assert_eq!(config.wait_for_locks, LockWait::Wait);
        assert!(config.backup && config.archive);
        assert_eq!((config.backup_dir, config.system_id), (None, None));
        assert_eq!(config.snapshot_autoextend, Policy { threshold: 100, percent: 20 });
        assert!(!config.snapshot_autoextend.is_on());
        assert_eq!(config.polling_interval, 15);
    }

    #[test]
    fn stores_are_extended_as_lvm_conf_says() {
        let policy = |text: &str| Config::read(None, Some(text)).unwrap().snapshot_autoextend;
        let option = "activation { snapshot_autoextend_threshold = 70 snapshot_autoextend_percent = 50 }";
        assert_eq!(policy(option), Policy { threshold: 70, percent: 50 });
        assert_eq!(policy("activation/snapshot_autoextend_threshold=10").threshold, 50);
        assert_eq!(policy("activation/snapshot_autoextend_threshold=1000").threshold, 100);
        let config = Config::read(None, Some("activation/polling_interval=0")).unwrap();
        assert_eq!(config.polling_interval, 0);
    }

    #[test]
    fn a_full_store_is_held_for_30_seconds_or_as_our_own_section_says() {
        let hold = |text: &str| Config::read(None, Some(text)).unwrap().hold;
        assert_eq!(hold(""), Duration::from_secs(30));
        assert_eq!(hold("foldback { hold_seconds = 5 }"), Duration::from_secs(5));
        assert_eq!(hold("foldback/hold_seconds=0"), Duration::ZERO);
    }

    #[test]
    fn the_option_goes_before_the_file_and_slashes_name_sections() {
        let dir = tempfile::tempdir().unwrap();
        let file =
            "# comment\nbackup {\n\tbackup_dir = \"/a\"\n\tarchive = 0\n}\nglobal { locking_dir = \"/l\" }\n";
        std::fs::write(dir.path().join("lvm.conf"), file).unwrap();
        std::fs::write(dir.path().join("lvmlocal.conf"), "local { system_id = \"me\" }").unwrap();
        let option = "devices { filter = [ \"a|/dev/loop1$|\", \"r|.*|\" ] } backup/backup_dir=\"/b\" \
                      global/wait_for_locks=0 global { system_id_source = \"lvmlocal\" }";
        let config = Config::read(Some(dir.path()), Some(option)).unwrap();
        assert_eq!(config.backup_dir.as_deref(), Some(Path::new("/b")));
        assert_eq!(config.archive_dir, Some(dir.path().join("archive")));
        assert_eq!(config.locking_dir, Path::new("/l"));
        assert_eq!(config.wait_for_locks, LockWait::Fail);
        assert!(!config.archive && config.backup);
        assert_eq!(config.system_id.as_deref(), Some("me"));
    }

    #[test]
    fn a_file_may_name_section_and_key_together_as_lvm2_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("lvm.conf");
        let text = "# a/b = 1 and \"\nbackup { archive = 0 }\nbackup/backup_dir = \"/x#/y\" # c/d = 2\nglobal/wait_for_locks = 0\n";
        std::fs::write(&file, text).unwrap();
        let config = Config::read(Some(dir.path()), None).unwrap();
        assert_eq!(config.backup_dir.as_deref(), Some(Path::new("/x#/y")));
        assert_eq!((config.archive, config.wait_for_locks), (false, LockWait::Fail));
        std::fs::write(&file, format!("{text}backup {{\n")).unwrap();
        let error = Config::read(Some(dir.path()), None).unwrap_err().to_string();
        assert!(error.contains("lvm.conf: line 3"), "{error}");
    }

    #[test]
    fn what_is_no_configuration_is_refused_with_its_place() {
        let error = Config::read(None, Some("backup {")).unwrap_err().to_string();
        assert!(error.starts_with("Failed to parse config from --config: line 1"), "{error}");
    }
}
