//! A view of volume groups that follows what happens.
//!
//! What must hold:
//! - What is shown is made of values (`model`), drawn without asking anybody (`draw`, `lines`); `gather` and `terminal` alone
//!   touch anything.
//! - The terminal is left as it was found, whatever ends the view.

mod draw;
mod gather;
mod lines;
mod model;
mod terminal;

pub(crate) use gather::Gatherer;
pub(crate) use lines::report;
pub(crate) use terminal::run;
