//! The same as text, once: for a pipe, a file or a log.

use super::model::{VgView, filled, note, state};
use crate::map::percent;
use foldback_manager::report::Units;
use std::fmt::Write;

/// What is there now.
pub(crate) fn report(vgs: &[VgView]) -> String {
    let mut text = String::new();
    for vg in vgs {
        let (size, free) = (Units::in_words(vg.size), Units::in_words(vg.free));
        // Writing to a string cannot fail.
        writeln!(text, "  {}: {size}, {free} free", vg.name).ok();
        if let Some(trouble) = &vg.trouble {
            writeln!(text, "    ! {trouble}").ok();
        }
        for lv in &vg.lvs {
            let name = format!("{}{}", if lv.is_snapshot { "  " } else { "" }, lv.name);
            let (size, filled) = (Units::in_words(lv.size), filled(lv).map(percent).unwrap_or_default());
            let line = format!("    {name:<18} {size:>12}  {:<8} {filled:>7}  {}", state(lv), note(lv));
            writeln!(text, "{}", line.trim_end()).ok();
        }
    }
    if text.is_empty() { "  No volume groups found.\n".to_owned() } else { text }
}
