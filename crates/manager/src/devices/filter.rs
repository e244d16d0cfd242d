//! `filter` and `global_filter`: patterns that accept or reject devices by their names.
//!
//! What must hold (compared with 2.03.16):
//! - For each name the first pattern that matches decides. One name that is accepted is enough; one that is rejected is
//!   enough only where none is accepted. What no pattern matches is accepted.
//! - A pattern is `a` or `r` and an expression between two equal characters, or in brackets; it may match anywhere in the name.

use regex_lite::Regex;
use std::path::PathBuf;

/// A pattern that is none.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("Invalid filter pattern \"{0}\".")]
pub struct BadPattern(pub String);

/// Patterns in their order.
#[derive(Clone, Default, Debug)]
pub struct Filter {
    patterns: Vec<(bool, Regex)>,
}

impl Filter {
    /// Of the elements of a setting.
    pub fn new(texts: &[String]) -> Result<Self, BadPattern> {
        let patterns = texts.iter().map(|text| pattern(text).ok_or_else(|| BadPattern(text.clone())));
        Ok(Self { patterns: patterns.collect::<Result<_, _>>()? })
    }

    /// Whether there is no pattern at all.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Whether a device with these names is accepted.
    pub fn accepts(&self, names: &[PathBuf]) -> bool {
        let mut rejected = false;
        for name in names {
            let name = name.to_string_lossy();
            match self.patterns.iter().find(|(_, expression)| expression.is_match(&name)) {
                Some((true, _)) => return true,
                Some((false, _)) => rejected = true,
                None => {}
            }
        }
        !rejected
    }
}

fn pattern(text: &str) -> Option<(bool, Regex)> {
    let mut characters = text.chars();
    let accept = match characters.next()? {
        'a' => true,
        'r' => false,
        _ => return None,
    };
    let close = match characters.next()? {
        '(' => ')',
        '[' => ']',
        '{' => '}',
        other => other,
    };
    let (expression, behind) = characters.as_str().rsplit_once(close)?;
    if !behind.is_empty() {
        return None;
    }
    Some((accept, Regex::new(expression).ok()?))
}

#[cfg(test)]
mod tests {
    use super::Filter;
    use std::path::PathBuf;

    fn filter(texts: &[&str]) -> Result<Filter, super::BadPattern> {
        Filter::new(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
    }

    fn accepts(texts: &[&str], names: &[&str]) -> bool {
        filter(texts).unwrap().accepts(&names.iter().map(PathBuf::from).collect::<Vec<_>>())
    }

    #[test]
    fn the_first_match_decides_and_one_accepted_name_is_enough() {
        assert!(accepts(&[], &["/dev/sdb"]));
        assert!(accepts(&["a|^/dev/ubd[a-p]$|", "r|.*|"], &["/dev/ubda"]));
        assert!(!accepts(&["a|^/dev/ubd[a-p]$|", "r|.*|"], &["/dev/ubda1"]));
        assert!(!accepts(&["r/.*/", "a/.*/"], &["/dev/sdb"]));
        assert!(accepts(&["a|by-id/x|", "r|.*|"], &["/dev/sdb", "/dev/disk/by-id/x"]));
        assert!(!accepts(&["r|by-id/x|"], &["/dev/sdb", "/dev/disk/by-id/x"]));
        assert!(accepts(&["r|sdc|"], &["/dev/sdb"]), "what nothing matches is accepted");
        assert!(accepts(&["a{loop.*}", "r(.*)"], &["/dev/loop7"]));
    }

    #[test]
    fn what_is_no_pattern_is_refused_in_lvm2s_words() {
        for text in ["", "a", "x|y|", "a|b", "a|b|c", "a|(|"] {
            let error = filter(&[text]).unwrap_err();
            assert_eq!(error.to_string(), format!("Invalid filter pattern \"{text}\"."));
        }
    }
}
