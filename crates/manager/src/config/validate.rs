//! Whether a configuration holds nothing but settings that LVM2 has, with values of their types.
//!
//! What must hold (compared with 2.03.16): LVM2's sentences. Which values of the right type a setting takes is another question.

use super::known::{codes, unknown_in};
use super::{ConfigError, sources};
use foldback_lvm2_format::text::{Item, Node, Scalar, Value};
use std::path::Path;

/// What is wrong, a sentence each; empty where nothing is.
///
/// # Errors
/// A configuration cannot be read.
pub fn invalid(system_dir: Option<&Path>, option: Option<&str>) -> Result<Vec<String>, ConfigError> {
    let sources = sources(system_dir, option)?;
    Ok(sources.iter().flat_map(|root| &root.items).flat_map(of_section).collect())
}

fn of_section(item: &Item) -> Vec<String> {
    let name = &item.key;
    let Node::Section(section) = &item.node else {
        return vec![format!("Configuration setting \"{name}\" invalid. It's not part of any section.")];
    };
    let mut told = unknown_in(item);
    told.extend(section.items.iter().filter_map(|item| {
        let key = format!("{name}/{}", item.key);
        wrong(&key, codes(&key)?.chars().next()?, &item.node)
    }));
    told
}

/// Why a value is none of its setting's type: `b`oolean, `i`nteger, `s`tring, `a`rray of strings, `-` anything.
fn wrong(key: &str, code: char, node: &Node) -> Option<String> {
    let expected = match code {
        'b' => "boolean",
        'i' => "integer",
        's' => "string",
        'a' => "array with values of type: string",
        _ => return None,
    };
    let found = match node {
        Node::Section(_) => "section",
        Node::Value(Value::Scalar(one)) => check(one, code)?,
        // LVM2 does not tell a list of one from that one.
        Node::Value(Value::Array(all)) => match (all.as_slice(), code) {
            ([one], _) => check(one, code)?,
            (all, 'a') => all.iter().find_map(|one| check(one, code))?,
            _ => "array",
        },
    };
    let text = match node {
        Node::Value(Value::Scalar(Scalar::Str(text))) if code == 'b' => text,
        _ => {
            return Some(format!(
                "WARNING: Configuration setting \"{key}\" has invalid type. Found {found} but expected {expected}."
            ));
        }
    };
    Some(format!(
        "Configuration setting \"{key}\" invalid. Found string value \"{text}\", expected boolean value: 0/1, \"y/n\", \"yes/no\", \"on/off\", \"true/false\"."
    ))
}

/// What a scalar is, where it is not of that type.
fn check(scalar: &Scalar, code: char) -> Option<&'static str> {
    const WORDS: &[&str] = &["y", "n", "yes", "no", "on", "off", "true", "false"];
    match (scalar, code) {
        (Scalar::Int(_), 'i' | 'b') | (Scalar::Str(_) | Scalar::Bytes(_), 's' | 'a') => None,
        (Scalar::Str(text), 'b') if WORDS.contains(&text.as_str()) => None,
        (Scalar::Int(_), _) => Some("integer"),
        (Scalar::Float(_), _) => Some("float"),
        (Scalar::Str(_) | Scalar::Bytes(_), _) => Some("string"),
    }
}

#[cfg(test)]
mod tests {
    use super::invalid;

    /// Each was told by LVM2 2.03.16.
    #[test]
    fn what_is_wrong_is_told_in_lvm2s_words() {
        let told = |option| invalid(None, Some(option)).unwrap();
        for good in [
            "activation { monitoring = \"yes\" polling_interval = 3 }",
            "activation/monitoring=[1]",
            "devices { scan = \"/dev\" filter = [] types = [\"a\", 1] }",
            "tags { x { host_list = [\"a\"] } }",
            "allocation { cache_settings { mq { x = 1 } } }",
        ] {
            assert_eq!(told(good), Vec::<String>::new(), "{good}");
        }
        let type_of = |key: &str, found: &str, expected: &str| {
            format!(
                "WARNING: Configuration setting \"{key}\" has invalid type. Found {found} but expected {expected}."
            )
        };
        let strings = "array with values of type: string";
        for (bad, said) in [
            (
                "activation/polling_interval=\"a\"",
                type_of("activation/polling_interval", "string", "integer"),
            ),
            ("activation/polling_interval=[1,2]", type_of("activation/polling_interval", "array", "integer")),
            ("activation/polling_interval=1.5", type_of("activation/polling_interval", "float", "integer")),
            ("devices/filter=[1]", type_of("devices/filter", "integer", strings)),
            ("devices/dir=[]", type_of("devices/dir", "array", "string")),
            ("backup { archive { x = 1 } }", type_of("backup/archive", "section", "boolean")),
            ("nosuch/x=1", "Configuration section \"nosuch\" unknown.".to_owned()),
            ("activation/nosuch=3", "Configuration setting \"activation/nosuch\" unknown.".to_owned()),
            (
                "activation=1",
                "Configuration setting \"activation\" invalid. It's not part of any section.".to_owned(),
            ),
        ] {
            assert_eq!(told(bad), [said], "{bad}");
        }
        assert!(told("report/headings=\"a\"")[0].starts_with(
            "Configuration setting \"report/headings\" invalid. Found string value \"a\", expected boolean value: 0/1,"
        ));
    }
}
