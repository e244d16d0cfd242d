//! What differs between two runs without meaning: UUIDs, times, who wrote, how often was written.
//!
//! What must hold: a UUID becomes its number in the order in which the case shows them, so that two that are exchanged are noticed.

use std::collections::BTreeMap;

/// Lengths of a UUID's parts.
const PARTS: &[usize] = &[6, 4, 4, 4, 4, 4, 6];
/// Lines of metadata that tell when, by whom, and the how-manieth write it was.
const KEYS: &[&str] = &[
    "seqno",
    "description",
    "creation_host",
    "creation_time",
    "contents",
    "version",
    "# Generated",
    "Hint:",
    "metadata text at",
    "TEST MODE",
    "LV Creation host",
    "Metadata Sequence No",
];

/// The UUIDs of a case.
#[derive(Debug, Default)]
pub(super) struct Normal {
    known: BTreeMap<String, usize>,
}

impl Normal {
    /// The text without what may differ.
    pub(super) fn text(&mut self, text: &str) -> String {
        let kept = text.lines().filter(|line| !KEYS.iter().any(|key| line.trim_start().starts_with(key)));
        kept.map(|line| self.line(line.trim_end()) + "\n").collect()
    }

    fn number(&mut self, uuid: &str) -> String {
        let next = self.known.len();
        format!("UUID{}", self.known.entry(uuid.to_owned()).or_insert(next))
    }

    fn line(&mut self, line: &str) -> String {
        let mut told = String::new();
        let mut rest = line;
        while let Some(first) = rest.chars().next() {
            if let Some(behind) = process(rest) {
                told.push_str("[PID]");
                rest = behind;
                continue;
            }
            if let Some((uuid, behind)) = uuid(rest) {
                told.push_str(&self.number(uuid));
                rest = behind;
            } else if let Some((vg, lv, behind)) = device(rest) {
                told.push_str("LVM-");
                told.push_str(&self.number(&hyphened(vg)));
                told.push_str(&self.number(&hyphened(lv)));
                rest = behind;
            } else {
                told.push(first);
                rest = rest.get(first.len_utf8()..).unwrap_or_default();
            }
        }
        told
    }
}

/// The UUIDs of VG and LV in that of a device at the start of the text, and what is behind it.
fn device(text: &str) -> Option<(&str, &str, &str)> {
    let len: usize = PARTS.iter().sum();
    let (vg, rest) = text.strip_prefix("LVM-")?.split_at_checked(len)?;
    let (lv, behind) = rest.split_at_checked(len)?;
    let plain = [vg, lv].iter().all(|id| id.chars().all(|char| char.is_ascii_alphanumeric()));
    plain.then_some((vg, lv, behind))
}

fn hyphened(id: &str) -> String {
    let mut rest = id;
    let parts: Vec<&str> = PARTS
        .iter()
        .filter_map(|len| rest.split_at_checked(*len).map(|(part, behind)| (rest = behind, part).1))
        .collect();
    parts.join("-")
}

/// What is behind a number in brackets at the start of the text, which tells a process.
fn process(text: &str) -> Option<&str> {
    let (number, behind) = text.strip_prefix('[')?.split_once(']')?;
    (!number.is_empty() && number.chars().all(|char| char.is_ascii_digit())).then_some(behind)
}

/// A UUID at the start of the text, and what is behind it.
fn uuid(text: &str) -> Option<(&str, &str)> {
    let len: usize = PARTS.iter().sum::<usize>() + PARTS.len() - 1;
    let (uuid, behind) = text.split_at_checked(len)?;
    let parts: Vec<&str> = uuid.split('-').collect();
    let fits = parts.iter().map(|part| part.len()).eq(PARTS.iter().copied());
    let plain = parts.iter().all(|part| part.chars().all(|char| char.is_ascii_alphanumeric()));
    (fits && plain).then_some((uuid, behind))
}

#[cfg(test)]
mod tests {
    use super::Normal;

    #[test]
    fn a_device_has_the_numbers_of_its_vg_and_lv() {
        let (vg, lv) = ("abcdef-0123-4567-89ab-cdef-0123-456789", "zzzzzz-0123-4567-89ab-cdef-0123-456789");
        let device = format!("LVM-{}{}-real", vg.replace('-', ""), lv.replace('-', ""));
        let told = Normal::default().text(&format!("{vg} {lv} {device}"));
        assert_eq!(told, "UUID0 UUID1 LVM-UUID0UUID1-real\n");
    }

    #[test]
    fn uuids_become_their_numbers_and_nothing_else_changes() {
        let (a, b) = ("abcdef-0123-4567-89ab-cdef-0123-456789", "zzzzzz-0123-4567-89ab-cdef-0123-456789");
        let mut normal = Normal::default();
        let told = normal.text(&format!("id = \"{a}\"\n\tseqno = 4\n  {b} of {a} and ab-cd"));
        assert_eq!(told, "id = \"UUID0\"\n  UUID1 of UUID0 and ab-cd\n");
    }
}
