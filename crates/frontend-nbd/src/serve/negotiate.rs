//! The handshake on a stream: what the wire cannot answer by itself is asked of the volumes.
//!
//! What must hold:
//! - A volume is opened only by the option that enters it, and then its client has entered it.
//! - A client that does not read its replies is not read from.

use super::input::Input;
use super::outbox::Outbox;
use super::state::{End, Step};
use super::transmit::{MAX_WAITING, Transmission};
use super::volumes::Volumes;
use crate::wire::{Handshake, Heard, Violation};

/// What the handshake came to.
#[derive(Debug)]
pub(super) enum Negotiated {
    /// It goes on.
    Step(Step),
    /// An export was entered.
    Entered(Box<Transmission>),
}

/// Takes one message.
pub(super) fn step(
    handshake: &mut Handshake,
    input: &mut Input,
    outbox: &mut Outbox,
    volumes: &mut dyn Volumes,
) -> Result<Negotiated, End> {
    if outbox.waiting() >= MAX_WAITING {
        return Ok(Negotiated::Step(Step::Stalled));
    }
    let heard = outbox.write(|out| handshake.advance(input.filled(), out))?;
    let Some((used, heard)) = heard else { return Ok(Negotiated::Step(Step::Hungry)) };
    input.consume(used);
    match heard {
        Heard::Nothing => {}
        Heard::Abort => return Err(End::Aborted),
        Heard::List => {
            let exports = volumes.exports();
            outbox.write(|out| handshake.list(&exports, out));
        }
        Heard::Contexts(wish, set) => {
            let found = volumes.describe(&wish.name);
            outbox.write(|out| handshake.contexts(wish, set, found.as_ref(), out));
        }
        Heard::Info(wish, false) => {
            let found = volumes.describe(&wish.name);
            outbox.write(|out| {
                handshake.info(&wish, false, found.as_ref(), out);
            });
        }
        Heard::Info(wish, true) => {
            let opened = volumes.open(&wish.name);
            let found = opened.as_ref().map(|opened| &opened.export);
            let session = outbox.write(|out| handshake.info(&wish, true, found, out));
            if let (Some(session), Ok(opened)) = (session, opened) {
                return Ok(Negotiated::Entered(Box::new(Transmission::new(opened.volume, session))));
            }
        }
        Heard::Enter(name) => {
            let opened = volumes.open(&name).map_err(|_| Violation::ExportName)?;
            let session = outbox.write(|out| handshake.enter(&name, &opened.export, out));
            return Ok(Negotiated::Entered(Box::new(Transmission::new(opened.volume, session))));
        }
    }
    Ok(Negotiated::Step(Step::Moved))
}
