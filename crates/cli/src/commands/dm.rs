//! `dm`: the daemon's mapped devices, shown as dmsetup shows the kernel's.

use super::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::live;
use clap::{Args, Subcommand};
use foldback_daemon::api::types::DeviceInfo;

/// Show the mapped devices of active volumes as dmsetup would
#[derive(Args, Debug)]
#[command(arg_required_else_help = true)]
#[command(after_help = "Examples:\n  foldback dm ls\n  foldback dm table vg-root\n  foldback dm status")]
pub(crate) struct Dm {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    /// List the devices
    Ls,
    /// Show live tables
    Table {
        /// This device alone
        device: Option<String>,
    },
    /// Show the status of live tables
    Status {
        /// This device alone
        device: Option<String>,
    },
    /// Show state, open count and UUID
    Info {
        /// This device alone
        device: Option<String>,
    },
}

impl Dm {
    pub(crate) fn run(&self, context: &Context) -> Result<Exit, CliError> {
        let mut all: Vec<DeviceInfo> = Vec::new();
        if let Some(mut client) = live::daemon()? {
            for vg in client.list()? {
                all.extend(client.devices(&vg.name)?);
            }
        }
        let named = match &self.what {
            What::Ls => None,
            What::Table { device } | What::Status { device } | What::Info { device } => device.as_ref(),
        };
        if let Some(name) = named {
            all.retain(|device| device.name == *name);
            if all.is_empty() {
                return Err(CliError::failed(format!("Device {name} not found.")));
            }
        }
        if all.is_empty() {
            context.console.result("No devices found\n");
        }
        let alone = named.is_some();
        let text: String = all.iter().map(|device| self.show(device, alone)).collect();
        context.console.result(&text);
        Ok(Exit::Success)
    }

    fn show(&self, device: &DeviceInfo, alone: bool) -> String {
        let name = &device.name;
        let prefix = if alone { String::new() } else { format!("{name}: ") };
        match self.what {
            What::Ls => format!("{name}\n"),
            What::Table { .. } => lines(device.table.lines().map(|line| format!("{prefix}{line}"))),
            What::Status { .. } => {
                let both = device.table.lines().zip(device.status.iter());
                lines(both.map(|(line, status)| format!("{prefix}{} {status}", start_of(line))))
            }
            What::Info { .. } => {
                let state = if device.suspended { "SUSPENDED" } else { "ACTIVE" };
                let live = if device.table.is_empty() { "None" } else { "LIVE" };
                let tables = if device.inactive { format!("{live} & INACTIVE") } else { live.to_owned() };
                format!(
                    "Name:              {name}\nState:             {state}\nTables present:    {tables}\nOpen count:        \
                     {}\nEvent number:      {}\nUUID: {}\n\n",
                    device.open_count, device.event, device.uuid
                )
            }
        }
    }
}

fn lines(all: impl Iterator<Item = String>) -> String {
    all.flat_map(|line| [line, "\n".to_owned()]).collect()
}

/// Start, length and kind of a table's line.
fn start_of(line: &str) -> String {
    line.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}
