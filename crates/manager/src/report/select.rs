//! `-S`: which rows a report keeps.
//!
//! What must hold:
//! - `FIELD OP VALUE` with `= != > < >= <=`, joined by `&&` or `,`, `||` or `#`, turned by `!`, grouped by brackets.
//! - Sizes may carry a unit; without one they are in MiB, as LVM2 takes them.
//! - A list (tags, roles) matches when one of its items does; `[A && B]` is a list of exactly these, `{A && B}` one that has
//!   them among others, and with `||` one that has any.
//! - `=~` and `!~` take a regular expression that matches anywhere in a text, or in an item of a list.
//! - What is not understood is refused with the place, never passed over.

use super::field::{Field, Section, Value};
use super::fields::find;
use super::layout::BadLayout;
use super::row::{Report, Row};
use regex_lite::Regex;
use std::cmp::Ordering;

/// Brackets inside brackets, at most.
const DEPTH: usize = 32;

/// A selection that was understood.
#[derive(Default)]
pub(super) enum Selection {
    #[default]
    All,
    Not(Box<Selection>),
    And(Box<Selection>, Box<Selection>),
    Or(Box<Selection>, Box<Selection>),
    Is {
        field: &'static Field,
        wanted: String,
        test: fn(Ordering) -> bool,
    },
    Like(&'static Field, Regex),
    Has(&'static Field, Set),
}

/// What a list is to hold.
pub(super) struct Set {
    items: Vec<String>,
    /// One of them is enough.
    any: bool,
    /// And nothing else.
    only: bool,
}

impl Set {
    fn fits(&self, shown: &str) -> bool {
        let held: Vec<&str> = shown.split(',').filter(|item| !item.is_empty()).collect();
        let has = |item: &String| held.contains(&item.as_str());
        if self.any {
            return self.items.iter().any(has);
        }
        self.items.iter().all(has) && (!self.only || held.len() == self.items.len())
    }
}

/// What an operator says of how a value compares with the wanted one.
type Test = fn(Ordering) -> bool;

/// Longest first, so that `>=` is not read as `>`.
const OPERATORS: &[(&str, Test)] = &[
    ("!=", Ordering::is_ne),
    (">=", Ordering::is_ge),
    ("<=", Ordering::is_le),
    ("=", Ordering::is_eq),
    (">", Ordering::is_gt),
    ("<", Ordering::is_lt),
];

struct Parser<'a> {
    rest: &'a str,
    report: Report,
    sections: Vec<Section>,
}

impl Selection {
    /// Reads a selection; also the sections whose fields it looks at.
    pub(super) fn parse(text: &str, report: Report) -> Result<(Self, Vec<Section>), BadLayout> {
        let mut parser = Parser { rest: text, report, sections: Vec::new() };
        if text.trim().is_empty() || text.trim() == "all" {
            return Ok((Self::All, Vec::new()));
        }
        let selection = parser.either(DEPTH)?;
        parser.rest = parser.rest.trim_start();
        if parser.rest.is_empty() { Ok((selection, parser.sections)) } else { Err(parser.wrong("")) }
    }

    /// The names of the fields that it looks at.
    pub(super) fn fields(&self) -> Vec<&'static str> {
        match self {
            Self::All => Vec::new(),
            Self::Not(inner) => inner.fields(),
            Self::And(a, b) | Self::Or(a, b) => [a.fields(), b.fields()].concat(),
            Self::Is { field, .. } | Self::Like(field, _) | Self::Has(field, _) => vec![field.id],
        }
    }

    pub(super) fn keeps(&self, row: &Row<'_>) -> bool {
        match self {
            Self::All => true,
            Self::Not(inner) => !inner.keeps(row),
            Self::And(a, b) => a.keeps(row) && b.keeps(row),
            Self::Or(a, b) => a.keeps(row) || b.keeps(row),
            Self::Is { field, wanted, test } => matches(&(field.value)(row), wanted, *test),
            Self::Like(field, pattern) => (field.value)(row)
                .plain()
                .is_some_and(|text| text.split(',').any(|item| pattern.is_match(item))),
            Self::Has(field, set) => (field.value)(row).plain().is_some_and(|text| set.fits(text)),
        }
    }
}

fn matches(value: &Value, asked: &str, test: Test) -> bool {
    match value {
        Value::Bracketed(_, name) => test(name.as_str().cmp(asked)),
        Value::Text(shown) if test(Ordering::Equal) && !test(Ordering::Less) && !test(Ordering::Greater) => {
            shown == asked || shown.split(',').any(|item| item == asked)
        }
        Value::Text(shown) if !test(Ordering::Equal) && test(Ordering::Less) && test(Ordering::Greater) => {
            shown != asked && !shown.split(',').any(|item| item == asked)
        }
        Value::Text(shown) => test(shown.as_str().cmp(asked)),
        Value::Flag(word, state) if !word.is_empty() && asked == *word => {
            test(state.map_or(-1, i128::from).cmp(&1))
        }
        Value::Flag(_, None) if asked == "unknown" => test(Ordering::Equal),
        Value::Flag(_, Some(set)) if asked.is_empty() => test(i128::from(*set).cmp(&0)),
        Value::Blank => false,
        Value::Size(size) => {
            size_of(asked).is_some_and(|bytes| test(u128::from(size.get()).saturating_mul(512).cmp(&bytes)))
        }
        Value::Percent(hundredths) => {
            hundredths_of(asked).is_some_and(|wanted| test(u128::from(*hundredths).cmp(&wanted)))
        }
        other => match (other.number(), asked.parse::<i128>()) {
            (Some(number), Ok(wanted)) => test(number.cmp(&wanted)),
            _ => false,
        },
    }
}

fn turned_if(turned: bool, selection: Selection) -> Selection {
    if turned { Selection::Not(Box::new(selection)) } else { selection }
}

/// Bytes; MiB where no unit stands behind the number.
fn size_of(text: &str) -> Option<u128> {
    let letter = text.chars().next_back().filter(char::is_ascii_alphabetic);
    let number = letter.map_or(Some(text), |letter| text.strip_suffix(letter))?;
    let unit: u128 = match letter.unwrap_or('m') {
        'b' | 'B' => 1,
        's' | 'S' => 512,
        other => {
            let power = "kmgtpe".find(other.to_ascii_lowercase())?.checked_add(1)?;
            let base: u128 = if other.is_ascii_lowercase() { 1024 } else { 1000 };
            base.checked_pow(u32::try_from(power).ok()?)?
        }
    };
    hundredths_of(number)?.checked_mul(unit)?.checked_div(100)
}

fn hundredths_of(text: &str) -> Option<u128> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    if whole.is_empty() && part.is_empty() {
        return None;
    }
    let part: String = part.chars().chain("00".chars()).take(2).collect();
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    whole.checked_mul(100)?.checked_add(part.parse().ok()?)
}

impl Parser<'_> {
    fn wrong(&self, reason: &str) -> BadLayout {
        BadLayout::Selection { at: self.rest.to_owned(), reason: reason.to_owned() }
    }

    fn take(&mut self, token: &str) -> bool {
        self.rest = self.rest.trim_start();
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn either(&mut self, depth: usize) -> Result<Selection, BadLayout> {
        let mut left = self.both(depth)?;
        while self.take("||") || self.take("#") {
            left = Selection::Or(Box::new(left), Box::new(self.both(depth)?));
        }
        Ok(left)
    }

    fn both(&mut self, depth: usize) -> Result<Selection, BadLayout> {
        let mut left = self.one(depth)?;
        while self.take("&&") || self.take(",") {
            left = Selection::And(Box::new(left), Box::new(self.one(depth)?));
        }
        Ok(left)
    }

    fn one(&mut self, depth: usize) -> Result<Selection, BadLayout> {
        let deeper = depth.checked_sub(1).ok_or_else(|| self.wrong(" Too many brackets."))?;
        if self.take("!") {
            return Ok(Selection::Not(Box::new(self.one(deeper)?)));
        }
        if self.take("(") {
            let inner = self.either(deeper)?;
            return if self.take(")") {
                Ok(inner)
            } else {
                Err(self.wrong(" A closing bracket is missing."))
            };
        }
        self.comparison()
    }

    fn comparison(&mut self) -> Result<Selection, BadLayout> {
        let start = self.rest;
        let end =
            self.rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at_checked(end).unwrap_or((self.rest, ""));
        let Some((section, field)) = find(name, self.report) else { return Err(self.wrong("")) };
        self.rest = rest;
        for (operator, turned) in [("=~", false), ("!~", true)] {
            if self.take(operator) {
                self.sections.push(section);
                let pattern = self.pattern()?;
                return Ok(turned_if(turned, Selection::Like(field, pattern)));
            }
        }
        for (operator, turned) in [("!=", true), ("=", false)] {
            let here = self.rest;
            if self.take(operator) && self.rest.trim_start().starts_with(['[', '{']) {
                self.sections.push(section);
                let set = self.set()?;
                return Ok(turned_if(turned, Selection::Has(field, set)));
            }
            self.rest = here;
        }
        let Some((_, test)) = OPERATORS.iter().find(|(operator, _)| self.take(operator)) else {
            self.rest = start;
            return Err(self.wrong(""));
        };
        let wanted = self.value()?;
        self.sections.push(section);
        Ok(Selection::Is { field, wanted, test: *test })
    }

    fn pattern(&mut self) -> Result<Regex, BadLayout> {
        self.rest = self.rest.trim_start();
        let start = self.rest;
        // Brackets may be the expression's own: without quotes it ends at a blank.
        let text = if start.starts_with(['"', '\'']) {
            self.value()?
        } else {
            let end = start.find(' ').unwrap_or(start.len());
            let (text, rest) = start.split_at_checked(end).unwrap_or((start, ""));
            self.rest = rest;
            text.to_owned()
        };
        Regex::new(&text).map_err(|error| {
            self.rest = start;
            self.wrong(&format!(" {error}"))
        })
    }

    /// `[A, B]`, `{A || B}` and the like.
    fn set(&mut self) -> Result<Set, BadLayout> {
        let (only, end) = if self.take("[") { (true, "]") } else { (!self.take("{"), "}") };
        let (mut items, mut joins) = (Vec::new(), Vec::new());
        while !self.take(end) {
            if !items.is_empty() {
                let join = ["&&", ",", "||", "#"].into_iter().find(|join| self.take(join));
                joins.push(matches!(join.ok_or_else(|| self.wrong(""))?, "||" | "#"));
            }
            items.push(self.value()?);
        }
        let any = joins.first().copied().unwrap_or(false);
        if joins.iter().any(|join| *join != any) {
            return Err(self.wrong(" A set is joined by && or by ||, not by both."));
        }
        Ok(Set { items, any, only })
    }

    fn value(&mut self) -> Result<String, BadLayout> {
        self.rest = self.rest.trim_start();
        for quote in ['"', '\''] {
            if let Some(rest) = self.rest.strip_prefix(quote) {
                let (value, rest) =
                    rest.split_once(quote).ok_or_else(|| self.wrong(" A quote is missing."))?;
                self.rest = rest;
                return Ok(value.to_owned());
            }
        }
        let end = self.rest.find([' ', ')', ',', '&', '|', '#', ']', '}']).unwrap_or(self.rest.len());
        let (value, rest) = self.rest.split_at_checked(end).unwrap_or((self.rest, ""));
        self.rest = rest;
        if value.is_empty() { Err(self.wrong(" A value is missing.")) } else { Ok(value.to_owned()) }
    }
}

#[cfg(test)]
mod tests {
    use super::{Selection, hundredths_of, size_of};
    use crate::report::facts::{LvFacts, VgFacts};
    use crate::report::layout::BadLayout;
    use crate::report::row::{Choice, Report, RowKind, rows};
    use crate::report::{Facts, PvFacts};
    use foldback_units::Sectors;

    struct Everything;

    impl Choice for Everything {
        fn vg(&self, _: &VgFacts) -> bool {
            true
        }
        fn lv(&self, _: &VgFacts, _: &LvFacts) -> bool {
            true
        }
        fn pv(&self, _: &PvFacts) -> bool {
            true
        }
    }

    /// The names of the LVs (`root` of 4 MiB, `snap` of 1 GiB with tags `a` and `b`) that a selection keeps.
    fn kept(selection: &str) -> String {
        let lv = |name: &str, sectors, tags: &[&str]| LvFacts {
            name: name.to_owned(),
            size: Sectors(sectors),
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            ..LvFacts::default()
        };
        let lvs = vec![lv("root", 8192, &[]), lv("snap", 1 << 21, &["a", "b"])];
        let facts = Facts { vgs: vec![VgFacts { lvs, ..VgFacts::default() }], orphans: Vec::new() };
        let (selection, _) = Selection::parse(selection, Report::Lvs).unwrap();
        let rows = rows(&facts, Report::Lvs, RowKind::Lv, &Everything);
        let names = rows.iter().filter(|row| selection.keeps(row)).map(|row| row.lv.name.as_str());
        names.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn comparisons_join_turn_and_nest() {
        for (selection, names) in [
            ("", "root snap"),
            ("all", "root snap"),
            ("lv_name=root", "root"),
            ("name != root", "snap"),
            ("size=4m", "root"),
            ("size=4", "root"),
            ("size>1023.5m", "snap"),
            ("size<=1g", "root snap"),
            ("lv_tags=a", "snap"),
            ("lv_tags!=a", "root"),
            ("!(size>1m && lv_tags=b)", "root"),
            ("lv_name=root || lv_name='snap'", "root snap"),
            ("lv_name=root, lv_tags=a", ""),
            ("lv_merging=\"\"", "root snap"),
            ("lv_active=active", ""),
            ("data_percent>0", ""),
            ("lv_name=~^s", "snap"),
            ("lv_name !~ 'o{2}'", "snap"),
            ("lv_name=~^(root|x)$ || lv_tags=~^b", "root snap"),
            ("lv_tags=[a && b]", "snap"),
            ("lv_tags=[a]", ""),
            ("lv_tags={a}", "snap"),
            ("lv_tags={a || c}", "snap"),
            ("lv_tags!={b,a}", "root"),
        ] {
            assert_eq!(kept(selection), names, "{selection}");
        }
    }

    #[test]
    fn what_is_not_understood_is_refused_with_its_place() {
        for (selection, place) in [
            ("nosuch=1", "nosuch=1"),
            ("lv_name", "lv_name"),
            ("lv_name=", ""),
            ("lv_name=~(", "("),
            ("lv_tags={a", ""),
            ("lv_tags={a && b || c}", ""),
            ("(lv_name=root", ""),
            ("lv_name=root lv_name=snap", "lv_name=snap"),
            ("lv_name='root", "'root"),
        ] {
            let Err(BadLayout::Selection { at, .. }) = Selection::parse(selection, Report::Lvs) else {
                panic!("{selection} was understood");
            };
            assert_eq!(at, place, "{selection}");
        }
        assert!(Selection::parse(&"(".repeat(100_000), Report::Lvs).is_err());
        assert!(Selection::parse(&"!".repeat(100_000), Report::Lvs).is_err());
    }

    #[test]
    fn sizes_are_in_mebibytes_unless_said() {
        assert_eq!(size_of("4"), Some(4 << 20));
        assert_eq!(size_of("4096s"), Some(2 << 20));
        assert_eq!(size_of("1.5K"), Some(1500));
        assert_eq!((size_of("4x"), size_of("g"), size_of("")), (None, None, None));
        assert_eq!((hundredths_of("12.5"), hundredths_of("x")), (Some(1250), None));
    }
}
