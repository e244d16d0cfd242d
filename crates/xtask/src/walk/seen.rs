//! What a party reports of the VG, and where that differs from the model.

use std::collections::{BTreeMap, BTreeSet};

use super::model::{Lv, Merge, Model};

/// A line of `lvs -a`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    /// Name, without brackets.
    pub(crate) name: String,
    /// Whether it stood in brackets.
    pub(crate) hidden: bool,
    /// Attributes.
    pub(crate) attr: String,
    /// Size of the LV, of a snapshot that of its store.
    pub(crate) mib: u64,
    /// Name of the origin, or blank.
    pub(crate) origin: String,
    /// Tags.
    pub(crate) tags: BTreeSet<String>,
}

impl Row {
    /// Reads a line of `lv_name|lv_attr|lv_size|origin|lv_tags|...` in MiB.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let mut fields = line.trim().split('|');
        let mut field = || fields.next();
        let (bracketed, attr, size, origin, tags) = (field()?, field()?, field()?, field()?, field()?);
        let name = bracketed.trim_matches(['[', ']']);
        Some(Self {
            name: name.to_owned(),
            hidden: name != bracketed,
            attr: attr.to_owned(),
            mib: size.split('.').next()?.parse().ok()?,
            origin: origin.trim_matches(['[', ']']).to_owned(),
            tags: tags.split(',').filter(|tag| !tag.is_empty()).map(str::to_owned).collect(),
        })
    }
}

/// What one look brought.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Seen {
    /// By name.
    pub(crate) rows: BTreeMap<String, Row>,
    /// Names of the LVs whose devices carry a merge.
    pub(crate) merging: BTreeSet<String>,
}

/// Takes over what merges did by themselves and which sizes a party chose, and says what differs then. Each change is told as
/// `name=begun`, `name=ended`, or `name=MIB`.
pub(crate) fn differences(model: &mut Model, seen: &Seen, changes: &mut Vec<String>) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, lv) in &mut model.lvs {
        if let (Some(snapshot), Some(row)) = (&mut lv.snapshot, seen.rows.get(name))
            && snapshot.store_mib == 0
        {
            snapshot.store_mib = row.mib;
            changes.push(format!("{name}={}", row.mib));
        }
    }
    let names: Vec<String> =
        model.lvs.iter().filter(|(_, lv)| lv.merge() != Merge::No).map(|(name, _)| name.clone()).collect();
    for name in names {
        let origin = model.group(&name).to_owned();
        let Some(lv) = model.lvs.get(&name) else { continue };
        let (merge, runs) = (lv.merge(), seen.merging.contains(&origin));
        if !seen.rows.contains_key(&name) {
            if merge == Merge::Marked && model.waits(&name) {
                wrong.push(format!("{name} was merged while it or its origin was open"));
            }
            model.end(&name);
            changes.push(format!("{name}=ended"));
        } else if merge == Merge::Marked && runs {
            if model.waits(&name) {
                wrong.push(format!("the merge of {name} began while it or its origin was open"));
            }
            model.begin(&name);
            changes.push(format!("{name}=begun"));
        } else if merge == Merge::Begun && lv.active && !runs {
            wrong.push(format!("the merge of {name} had begun, and {origin} does not merge"));
        }
    }
    wrong.extend(shape_differs(model, seen));
    wrong.extend(state_differs(model, seen));
    wrong
}

/// Merges that have ended though nothing of them was active: the snapshots were not merged, but removed.
pub(crate) fn merged_by_nobody(model: &Model, seen: &Seen) -> Vec<String> {
    let idle = model.lvs.iter().filter(|(_, lv)| lv.merge() == Merge::Marked && !lv.active);
    let gone = idle.filter(|(name, _)| !seen.rows.contains_key(*name));
    gone.map(|(name, _)| format!("{name} is gone, and nobody merged it")).collect()
}

/// Names, sizes, origins, tags, and who merges.
fn shape_differs(model: &Model, seen: &Seen) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, lv) in &model.lvs {
        let wanted = row(model, name, lv);
        match seen.rows.get(name) {
            None => wrong.push(format!("{name} is not there")),
            Some(found) => {
                let role = found.attr.get(..1).unwrap_or_default().to_owned();
                let found = Row { attr: role, ..found.clone() };
                if found != wanted {
                    wrong.push(format!("{name} should be {wanted:?} and is {found:?}"));
                }
            }
        }
    }
    let stray = |name: &&String| !model.lvs.contains_key(*name);
    wrong.extend(seen.rows.keys().filter(stray).map(|name| format!("{name} should not be there")));
    wrong
}

fn row(model: &Model, name: &str, lv: &Lv) -> Row {
    let (role, mib, origin) = if let Some(snapshot) = &lv.snapshot {
        let role = if snapshot.merge == Merge::No { "s" } else { "S" };
        (role, snapshot.store_mib, snapshot.origin.clone())
    } else {
        let role = match (model.merging(name), model.snapshots(name).next()) {
            (Some(_), _) => "O",
            (None, Some(_)) => "o",
            (None, None) => "-",
        };
        (role, u64::try_from(lv.mib()).unwrap_or(u64::MAX), String::new())
    };
    let (attr, hidden) = (role.to_owned(), lv.merge() != Merge::No);
    Row { name: name.to_owned(), hidden, attr, mib, origin, tags: lv.tags.clone() }
}

/// The rest of the attributes, where nothing merges: writable, inherited, active, open.
fn state_differs(model: &Model, seen: &Seen) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, lv) in model.lvs.iter().filter(|(_, lv)| lv.merge() == Merge::No) {
        let state = match (lv.active, lv.invalid()) {
            (false, _) => '-',
            (true, true) => 'I',
            (true, false) => 'a',
        };
        let open = if lv.held { 'o' } else { '-' };
        let wanted = format!("wi-{state}{open}");
        let found = seen.rows.get(name).and_then(|row| row.attr.get(1..6)).unwrap_or_default();
        if found != wanted {
            wrong.push(format!("the attributes of {name} should be ?{wanted} and are ?{found}"));
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::super::model::{Merge, Model};
    use super::{Row, Seen, differences, merged_by_nobody};

    fn seen(lines: &[&str], merging: &[&str]) -> Seen {
        let rows = lines.iter().map(|line| Row::parse(line).unwrap());
        Seen {
            rows: rows.map(|row| (row.name.clone(), row)).collect(),
            merging: merging.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    fn model() -> Model {
        let mut model = Model::default();
        model.create("o", 4);
        model.take("s", "o", 1, 2);
        model
    }

    #[test]
    fn what_is_as_it_should_be_differs_in_nothing() {
        let seen = seen(&["o|owi-a-----|4.00||", "s|swi-a-s---|2.00|o||0.39"], &[]);
        assert_eq!(differences(&mut model(), &seen, &mut Vec::new()), Vec::<String>::new());
    }

    #[test]
    fn a_size_a_tag_a_state_and_a_stray_volume_are_noticed() {
        for (lines, count) in [
            (["o|owi-a-----|5.00||", "s|swi-a-s---|2.00|o|"], 1),
            (["o|owi-a-----|4.00||t", "s|swi-a-s---|2.00|o|"], 1),
            (["o|owi-------|4.00||", "s|swi-a-s---|2.00|o|"], 1),
            (["o|owi-a-----|4.00||", "x|-wi-a-----|2.00||"], 3),
        ] {
            let found = differences(&mut model(), &seen(&lines, &[]), &mut Vec::new());
            assert_eq!(found.len(), count, "{found:?}");
        }
    }

    #[test]
    fn a_store_that_a_party_sized_is_as_large_as_it_is_seen() {
        let (mut back, mut changes) = (model(), Vec::new());
        back.take("b", "o", 1, 0);
        let rows = ["o|owi-a-----|4.00||", "s|swi-a-s---|2.00|o|", "b|swi-a-s---|3.00|o|"];
        assert!(differences(&mut back, &seen(&rows, &[]), &mut changes).is_empty());
        assert_eq!(
            (changes, back.lvs["b"].snapshot.as_ref().unwrap().store_mib),
            (vec!["b=3".to_owned()], 3)
        );
    }

    #[test]
    fn a_lost_snapshot_that_looks_good_is_noticed() {
        let mut lost = model();
        lost.write("o", 0, 1024, 1);
        let lines = |state| ["o|owi-a-----|4.00||".to_owned(), format!("s|swi-{state}-s---|2.00|o|")];
        for (state, count) in [("I", 0), ("a", 1)] {
            let lines = lines(state);
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            assert_eq!(differences(&mut lost, &seen(&lines, &[]), &mut Vec::new()).len(), count);
        }
    }

    #[test]
    fn merges_go_on_by_themselves_and_never_back() {
        let hidden = ["o|Owi-a-----|4.00||", "[s]|Swi-a-s---|2.00|o|"];
        let (mut marked, mut changes) = (model(), Vec::new());
        marked.mark("s", Merge::Marked);
        assert!(differences(&mut marked, &seen(&hidden, &["o"]), &mut changes).is_empty());
        assert_eq!(marked.lvs["s"].merge(), Merge::Begun);
        assert_eq!(differences(&mut marked.clone(), &seen(&hidden, &[]), &mut changes).len(), 1);
        assert!(differences(&mut marked, &seen(&["o|-wi-a-----|4.00||"], &[]), &mut changes).is_empty());
        assert_eq!(changes, ["s=begun", "s=ended"]);
    }

    #[test]
    fn what_is_not_active_does_not_end_by_itself() {
        let (mut marked, gone) = (model(), seen(&["o|-wi-------|4.00||"], &[]));
        marked.mark("s", Merge::Marked);
        assert!(merged_by_nobody(&marked, &gone).is_empty());
        marked.power_cut();
        assert_eq!(merged_by_nobody(&marked, &gone).len(), 1);
        assert!(merged_by_nobody(&marked, &seen(&["[s]|Swi---s---|2.00|o|"], &[])).is_empty());
    }

    #[test]
    fn a_merge_under_an_open_volume_is_noticed() {
        let mut marked = model();
        marked.mark("s", Merge::Marked);
        marked.lvs.get_mut("o").unwrap().held = true;
        let seen = seen(&["o|Owi-ao----|4.00||", "[s]|Swi-a-s---|2.00|o|"], &["o"]);
        assert_eq!(differences(&mut marked, &seen, &mut Vec::new()).len(), 1);
    }
}
