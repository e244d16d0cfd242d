//! Answers of a volume, on their way to the client that asked.
//!
//! What must hold:
//! - An answer leaves in the order of completion, with the number that the client gave its request.
//! - Data of a read goes out only after it was read whole.
//! - Without a client the answer is taken all the same: the memory is free then, and not before.

use super::outbox::Outbox;
use super::transmit::{Transmission, UnderWay};
use crate::wire::Errno;
use foldback_user_dm::{Fault, IoError, Ticket};

fn errno(error: IoError) -> Errno {
    match error {
        IoError::Fault(Fault::Device | Fault::Invalid) => Errno::Io,
        IoError::Range | IoError::Fault(Fault::Range) => Errno::Invalid,
        IoError::ReadOnly => Errno::Permission,
        IoError::NoDevice | IoError::Fault(Fault::Gone) => Errno::Shutdown,
    }
}

impl Transmission {
    /// Takes the answer of a ticket; `false` where it is not of this connection. Without an outbox nobody is told.
    pub(super) fn answer(
        &mut self,
        ticket: Ticket,
        outcome: Result<(), IoError>,
        outbox: Option<&mut Outbox>,
    ) -> bool {
        // Few are under way, and the oldest is mostly the first to come back.
        let Some(at) = self.under_way.iter().position(|under_way| under_way.ticket == ticket) else {
            return false;
        };
        let ended = self.under_way.swap_remove(at);
        if outcome.is_ok() && ended.rest.is_some() && outbox.is_some() {
            self.between.push(ended);
            return true;
        }
        let UnderWay { cookie, offset, read, mut memory, .. } = ended;
        if let Some(outbox) = outbox {
            let session = self.session;
            match (outcome, offset) {
                (Ok(()), Some(offset)) if read > 0 => {
                    outbox.write(|out| session.data(cookie, offset, read, out));
                    if let Some(memory) = memory.take() {
                        outbox.data(memory, read);
                    }
                }
                (Ok(()), _) => outbox.write(|out| session.done(cookie, false, out)),
                (Err(error), offset) => outbox.write(|out| {
                    session.error(cookie, errno(error), &error.to_string(), offset, out);
                }),
            }
        }
        if let Some(memory) = memory {
            self.buffers.give(memory);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::errno;
    use foldback_user_dm::{Fault, IoError};

    /// "The following error values are defined: `EPERM` (1), `EIO` (5), [...] `EINVAL` (22), [...] `ESHUTDOWN` (108)".
    #[test]
    fn each_error_of_a_volume_has_its_number() {
        let codes = [
            IoError::Fault(Fault::Device),
            IoError::Fault(Fault::Invalid),
            IoError::Fault(Fault::Range),
            IoError::Range,
            IoError::ReadOnly,
            IoError::NoDevice,
            IoError::Fault(Fault::Gone),
        ]
        .map(|error| errno(error).code());
        assert_eq!(codes, [5, 5, 22, 22, 1, 108, 108]);
    }
}
