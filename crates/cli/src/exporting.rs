//! Serving live volumes over NBD, for the commands that bring them up.
//!
//! What must hold:
//! - Repeating it is harmless, and says the same.
//! - What is said can be given to any NBD client as it is.

use crate::activating::Activation;
use crate::changing::one_vg;
use crate::commands::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::live::LiveVg;
use crate::session::Session;
use clap::ValueEnum;
use foldback_device::Access;
use foldback_units::{LvName, VgName};
use std::fmt::Write as _;
use std::net::SocketAddr;

/// The value of `--export`: `nbd`, or `nbd=ADDRESS`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Export {
    /// The usual one where there is none.
    address: Option<String>,
}

impl std::str::FromStr for Export {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, address) = text.split_once('=').map_or((text, None), |(kind, rest)| (kind, Some(rest)));
        match (kind, address) {
            ("nbd", Some("")) => Err("there is no address behind '='".to_owned()),
            ("nbd", address) => Ok(Self { address: address.map(str::to_owned) }),
            _ => Err("volumes are exported as nbd or nbd=ADDRESS".to_owned()),
        }
    }
}

/// The value of `--unexport`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Unexport {
    /// At every address.
    Nbd,
}

/// Refuses `--export` where nothing is brought up.
pub(crate) fn check(export: Option<&Export>, how: Option<Activation>) -> Result<(), CliError> {
    match (export, how) {
        (Some(_), None | Some(Activation::No)) => Err(CliError {
            exit: Exit::BadCommandLine,
            message: "--export needs -ay: what is exported is brought up first.".to_owned(),
            hint: None,
        }),
        _ => Ok(()),
    }
}

/// Exports those of these LVs (names and UUIDs) that are live.
pub(crate) fn export(
    context: &Context,
    vg: &VgName,
    lvs: &[(String, String)],
    export: &Export,
) -> Result<(), CliError> {
    let Some(mut live) = LiveVg::find(vg, &context.options.disks())? else { return Ok(()) };
    let devices: Vec<(&String, String)> =
        lvs.iter().filter_map(|(name, id)| Some((name, live.lv(id)?.device.clone()))).collect();
    for (name, device) in devices {
        let address = live.client.export_nbd(vg.as_str(), &device, export.address.as_deref())?;
        context.console.say(&format!("Logical volume {vg}/{name} exported: {}", uri(&address, name)));
        if is_public(&address) {
            context.console.warn(&format!(
                "Whoever reaches {address} over the network may read and write {vg}/{name}: NBD asks for no password and is not \
                 encrypted."
            ));
        }
    }
    Ok(())
}

/// Whether others than this machine's own users can connect.
fn is_public(address: &str) -> bool {
    let socket = address.strip_prefix("tcp:").and_then(|place| place.parse::<SocketAddr>().ok());
    socket.is_some_and(|socket| !socket.ip().is_loopback())
}

/// Ends exporting LVs, all that are exported where none is named.
pub(crate) fn unexport(context: &Context, vg: &VgName, lvs: Option<&[LvName]>) -> Result<Exit, CliError> {
    let found = Session::open(&context.options, Access::Read)?.discover();
    let mut live = LiveVg::find(vg, &context.options.disks())?;
    for lv in &one_vg(&found, vg)?.vg.lvs {
        if lvs.is_some_and(|lvs| !lvs.contains(&lv.name)) {
            continue;
        }
        let is_exported =
            |live: &&mut LiveVg| live.lv(&lv.id.to_string()).is_some_and(|info| !info.nbd.is_empty());
        match live.as_mut().filter(is_exported) {
            Some(live) => {
                if !context.options.test {
                    live.client.unexport_nbd(vg.as_str(), lv.name.as_str())?;
                }
                context.console.say(&format!("Logical volume {vg}/{} no longer exported.", lv.name));
            }
            None if lvs.is_some() => {
                context.console.say(&format!("Logical volume {vg}/{} is not exported.", lv.name));
            }
            None => {}
        }
    }
    Ok(Exit::Success)
}

/// Where a VG cannot be served as files, NBD serves it instead: why, and where these LVs (names and UUIDs) are.
pub(crate) fn tell_instead(context: &Context, vg: &VgName, lvs: &[(String, String)]) -> Result<(), CliError> {
    let Some(live) = LiveVg::find(vg, &context.options.disks())? else { return Ok(()) };
    let Some(why) = &live.info.no_files else { return Ok(()) };
    context.console.warn(&format!("Volume group {vg} is served over NBD and not as files: {why}."));
    for (name, lv) in lvs.iter().filter_map(|(name, id)| Some((name, live.lv(id)?))) {
        for address in &lv.nbd {
            context.console.say(&format!("Logical volume {vg}/{name} exported: {}", uri(address, name)));
        }
    }
    Ok(())
}

/// The NBD URI of an export at one of the daemon's addresses.
pub(crate) fn uri(address: &str, export: &str) -> String {
    match address.split_once(':') {
        Some(("tcp", place)) => format!("nbd://{place}/{}", quoted(export)),
        Some(("unix", path)) => format!("nbd+unix:///{}?socket={}", quoted(export), quoted(path)),
        _ => address.to_owned(),
    }
}

fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            quoted.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            write!(quoted, "%{byte:02X}").ok();
        }
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::{Export, is_public, uri};

    #[test]
    fn addresses_become_uris() {
        assert_eq!(uri("tcp:127.0.0.1:10809", "root"), "nbd://127.0.0.1:10809/root");
        assert_eq!(uri("unix:/run/a b&c.sock", "r+t"), "nbd+unix:///r%2Bt?socket=/run/a%20b%26c.sock");
    }

    #[test]
    fn an_address_that_others_can_reach_is_public() {
        for (address, public) in [
            ("tcp:127.0.0.1:10809", false),
            ("tcp:[::1]:10809", false),
            ("unix:/run/a.sock", false),
            ("tcp:0.0.0.0:10809", true),
            ("tcp:[::]:10809", true),
            ("tcp:192.0.2.7:1", true),
        ] {
            assert_eq!(is_public(address), public, "{address}");
        }
    }

    #[test]
    fn the_kind_comes_first() {
        let address = |text: &str| text.parse::<Export>().map(|export| export.address);
        assert_eq!(address("nbd"), Ok(None));
        assert_eq!(address("nbd=tcp:1"), Ok(Some("tcp:1".to_owned())));
        assert!(address("nbd=").is_err() && address("tcp:1").is_err());
    }
}
