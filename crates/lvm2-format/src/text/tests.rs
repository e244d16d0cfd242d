//! The grammar rule by rule, the errors with their places, and trees that survive being written (lvm2.md 1.7).

use super::{
    DEPTH_MAX, Dialect, Document, Duplicate, Item, Node, Notes, ParseError, ParseErrorKind, Scalar, Section,
    Value, WriteError, first_word, parse, write,
};
use proptest::prelude::*;

fn root(text: &str) -> Section {
    let document = parse(text.as_bytes()).unwrap();
    assert_eq!(document.duplicates, []);
    document.root
}

fn value(text: &str) -> Value {
    match root(&format!("key = {text}")).get("key") {
        Some(Node::Value(value)) => value.clone(),
        other => panic!("{other:?}"),
    }
}

fn refused(text: &str) -> (usize, usize, ParseErrorKind) {
    let ParseError { line, column, kind } = parse(text.as_bytes()).unwrap_err();
    (line, column, kind)
}

#[test]
fn numbers() {
    let int = |number| Value::Scalar(Scalar::Int(number));
    assert_eq!(value("0"), int(0));
    assert_eq!(value("-1"), int(-1));
    assert_eq!(value("+5"), int(5));
    assert_eq!(value("9223372036854775807"), int(i64::MAX));
    // A leading zero is octal: LVM2 leaves the base to strtoll.
    assert_eq!(value("010"), int(8));
    assert_eq!(value("1.50"), Value::Scalar(Scalar::Float("1.50".to_owned())));
    for bad in ["9223372036854775808", "09", "-", "+", "."] {
        assert_eq!(refused(&format!("key = {bad}")), (1, 7, ParseErrorKind::Number(bad.to_owned())));
    }
}

/// The number ends at the first character that is no digit; what follows is the next key.
#[test]
fn numbers_end_at_the_first_other_character() {
    let section = root("a = 12b = 3");
    assert_eq!((section.int("a"), section.int("b")), (Some(12), Some(3)));
    assert!(matches!(refused("a = 0x10"), (1, 9, ParseErrorKind::Expected(_))));
}

#[test]
fn strings() {
    let string = |text: &str| Value::Scalar(Scalar::from(text));
    assert_eq!(value(r#""a b""#), string("a b"));
    assert_eq!(value(r#""a\"b\\c\d""#), string(r#"a"b\c\d"#));
    assert_eq!(value(r"'a\b'"), string(r"a\b"));
    assert_eq!(value("\"two\nlines # no comment\""), string("two\nlines # no comment"));
    assert_eq!(value("bare"), string("bare"));
    let bytes = parse(b"key = \"\xff\xfe\"").unwrap().root;
    assert_eq!(
        bytes.items,
        [Item { key: "key".to_owned(), node: Node::Value(Value::Scalar(Scalar::Bytes(vec![0xff, 0xfe]))) }]
    );
    assert_eq!(refused("key = \"a"), (1, 7, ParseErrorKind::Ends("a string")));
    assert_eq!(refused("key = \"a\\"), (1, 7, ParseErrorKind::Ends("a string")));
}

#[test]
fn lists() {
    let numbers = |list: &[u32]| Value::Array(list.iter().map(|&number| Scalar::from(number)).collect());
    assert_eq!(value("[]"), Value::Array(Vec::new()));
    assert_eq!(value("[1, 2]"), numbers(&[1, 2]));
    assert_eq!(value("[1 2,]"), numbers(&[1, 2]));
    assert_eq!(value("[\n\"pv0\", 0 # first\n]"), Value::Array(vec![Scalar::from("pv0"), Scalar::from(0)]));
    assert_eq!(refused("key = [1"), (1, 9, ParseErrorKind::Ends("a list")));
    assert_eq!(refused("key = [,]"), (1, 8, ParseErrorKind::Expected("a value")));
    assert_eq!(refused("key = [[1]]"), (1, 8, ParseErrorKind::Expected("a value")));
}

#[test]
fn sections_comments_and_the_end() {
    let section = root("# c\nvg{a=1 sub {b = 2}}\nc = 3 # d\n\0 } this is no text");
    assert_eq!(section.section("vg").unwrap().int("a"), Some(1));
    assert_eq!(section.section("vg").unwrap().section("sub").unwrap().int("b"), Some(2));
    assert_eq!(section.int("c"), Some(3));
    assert_eq!(root("\"quoted\" = 1").int("quoted"), Some(1));
    assert_eq!(root(""), Section::default());
}

#[test]
fn errors_name_line_and_column() {
    assert_eq!(refused("a = 1\nb {\n  c = }"), (3, 7, ParseErrorKind::Expected("a value")));
    assert_eq!(refused("a {\nb = 1\n"), (3, 1, ParseErrorKind::Ends("a section")));
    assert_eq!(refused("}"), (1, 1, ParseErrorKind::Expected("a key")));
    assert_eq!(refused("a"), (1, 2, ParseErrorKind::Expected("\"=\" or \"{\" behind a key")));
    assert_eq!(refused("a ="), (1, 4, ParseErrorKind::Ends("a value")));
    // LVM2 would read a section inside a section.
    assert_eq!(refused("\n a/b = 1"), (2, 2, ParseErrorKind::Key("a/b".to_owned())));
    assert_eq!(refused("s{a = 1 a { }}"), (1, 9, ParseErrorKind::ValueAndSection("a".to_owned())));
    assert_eq!(refused("s{a { } a = 1}"), (1, 9, ParseErrorKind::ValueAndSection("a".to_owned())));
}

/// A warning, and the later value wins; a section that comes again goes on.
#[test]
fn duplicates_are_reported_and_the_later_one_wins() {
    let Document { root, duplicates } = parse(b"a = 1\ns { x = 1 y = 1 }\n  a = 2\ns { y = 3 }").unwrap();
    assert_eq!(root.int("a"), Some(2));
    let section = root.section("s").unwrap();
    assert_eq!((section.int("x"), section.int("y")), (Some(1), Some(3)));
    assert_eq!(root.items.len(), 2);
    let duplicate = |key: &str, line, column| Duplicate { key: key.to_owned(), line, column };
    assert_eq!(duplicates, [duplicate("a", 3, 3), duplicate("s", 4, 1), duplicate("y", 4, 5)]);
}

#[test]
fn depth_is_bounded() {
    let nested = |depth: usize| format!("{}{}", "a {".repeat(depth), "}".repeat(depth));
    assert!(parse(nested(DEPTH_MAX).as_bytes()).is_ok());
    assert_eq!(refused(&nested(DEPTH_MAX + 1)).2, ParseErrorKind::TooDeep);
    assert_eq!(refused(&"a {".repeat(1_000_000)).2, ParseErrorKind::TooDeep);
}

#[test]
fn the_first_word() {
    assert_eq!(first_word(b"vg0 {"), Some("vg0"));
    assert_eq!(first_word(b" # c\n vg0{"), Some("vg0"));
    assert_eq!(first_word(b"vg0\0{"), Some("vg0"));
    for none in [&b""[..], b"{", b" = ", b"\0vg0 {", b"\xff {"] {
        assert_eq!(first_word(none), None);
    }
}

#[test]
fn what_would_read_as_something_else_is_not_written() {
    let with = |item: Item| {
        let vg = Section { items: vec![item] };
        write(&Section { items: vec![Item::section("vg", vg)] }, Dialect::Disk, &Notes::NONE).unwrap_err()
    };
    assert_eq!(with(Item::scalar("a", "b\0c")), WriteError::Nul("a".to_owned()));
    assert_eq!(with(Item::scalar("a b", "c")), WriteError::Key("a b".to_owned()));
    assert_eq!(with(Item::scalar("", "c")), WriteError::Key(String::new()));
    assert_eq!(with(Item::scalar("a", Scalar::Float("1e5".to_owned()))), WriteError::Number("a".to_owned()));
    assert_eq!(write(&Section::default(), Dialect::Disk, &Notes::NONE), Err(WriteError::NoVg));
}

/// LVM2 2.03.16 makes and reads VGs with the names of header fields.
#[test]
fn at_the_top_a_key_can_be_a_value_and_a_section() {
    for text in ["a { x = 1 } a = 2", "a = 2 a { x = 1 }"] {
        let tree = root(text);
        assert_eq!((tree.items.len(), tree.int("a")), (2, Some(2)));
        assert_eq!(tree.section("a").and_then(|section| section.int("x")), Some(1));
        for dialect in [Dialect::Disk, Dialect::Backup] {
            let written = write(&tree, dialect, &Notes::NONE).unwrap();
            let again = parse(&written).unwrap();
            assert_eq!((again.root.int("a"), again.duplicates), (Some(2), Vec::new()));
        }
    }
    let Document { root, duplicates } = parse(b"a { x = 1 } a = 2 a = 3 a { y = 4 } a = 5").unwrap();
    assert_eq!((root.items.len(), root.int("a"), duplicates.len()), (2, Some(5), 3));
    assert_eq!(root.section("a").unwrap().items.len(), 2);
    let twice = Section { items: vec![Item::section("a", Section::default()); 2] };
    assert_eq!(write(&twice, Dialect::Disk, &Notes::NONE), Err(WriteError::KeyTwice("a".to_owned())));
}

#[test]
fn a_comment_cannot_end_its_line() {
    let notes = Notes { generated_by: Some("a\nb = 1\0"), host: Some("c\nd = 2"), ..Notes::NONE };
    let tree = root("vg { }\ncreation_host = \"h\"");
    let text = write(&tree, Dialect::Disk, &notes).unwrap();
    assert_eq!(parse(&text).unwrap().root, tree);
}

/// Sizes in comments, against what LVM2 2.03.16 printed or C's `%g` prints.
#[test]
fn sizes_in_words() {
    for (sectors, words) in [
        (1_u64, "0.5 Kilobytes"),
        (2, "1 Kilobytes"),
        (2048, "1024 Kilobytes"),
        (2049, "1.00049 Megabytes"),
        (8192, "4 Megabytes"),
        (131_072, "64 Megabytes"),
        (4_194_304, "2 Gigabytes"),
        (2_097_152, "1024 Megabytes"),
        (2_000_000, "976.562 Megabytes"),
        (3_907_029_168, "1.81935 Terabytes"),
        (1_234_567, "602.816 Megabytes"),
        (99_999_999, "47.6837 Gigabytes"),
        (0, "0 Kilobytes"),
    ] {
        let text = format!("vg {{ physical_volumes {{ pv0 {{ dev_size = {sectors} }} }} }}");
        let text = write(&root(&text), Dialect::Backup, &Notes::NONE).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert!(text.contains(&format!("dev_size = {sectors}\t# {words}\n")), "{text}");
    }
}

fn scalars() -> impl Strategy<Value = Scalar> {
    prop_oneof![
        any::<i64>().prop_map(Scalar::Int),
        "[^\0]{0,12}".prop_map(Scalar::Str),
        "[+-]?[0-9]{1,4}[.][0-9]{0,4}".prop_map(Scalar::Float),
        proptest::collection::vec(1_u8..=255, 0..6).prop_map(|bytes| {
            String::from_utf8(bytes).map_or_else(|error| Scalar::Bytes(error.into_bytes()), Scalar::Str)
        }),
    ]
}

fn keys() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-zA-Z0-9._+-]{1,8}",
        proptest::sample::select(vec![
            "stripes",
            "type",
            "status",
            "extent_size",
            "logical_volumes",
            "physical_volumes",
            "read_ahead",
            "creation_host",
            "description",
            "allocation_policy",
            "segment1",
            "raids",
            "message1",
        ])
        .prop_map(str::to_owned),
    ]
}

fn sections() -> impl Strategy<Value = Section> {
    let node = prop_oneof![
        scalars().prop_map(|scalar| Node::Value(Value::Scalar(scalar))),
        proptest::collection::vec(scalars(), 0..5).prop_map(|list| Node::Value(Value::Array(list))),
    ];
    let section = |node: BoxedStrategy<Node>| {
        proptest::collection::vec((keys(), node), 0..6).prop_map(|items| {
            let mut section = Section::default();
            for (key, node) in items {
                if section.get(&key).is_none() {
                    section.items.push(Item { key, node });
                }
            }
            section
        })
    };
    node.boxed()
        .prop_recursive(4, 40, 6, move |inner| section(inner).prop_map(Node::Section).boxed())
        .prop_map(|node| Section { items: vec![Item { key: "vg".to_owned(), node }] })
}

proptest! {
    /// The disk dialect puts sections before values and a VG's parts last; within that, every order stays.
    #[test]
    fn trees_survive_in_both_dialects(tree in sections()) {
        for dialect in [Dialect::Disk, Dialect::Backup] {
            let Ok(text) = write(&tree, dialect, &Notes::NONE) else {
                prop_assert!(!matches!(tree.items[0].node, Node::Section(_)));
                continue;
            };
            let again = parse(&text).unwrap();
            prop_assert_eq!(&again.duplicates, &[]);
            let parts = |section: &Section| {
                let mut items = section.items.clone();
                items.sort_by_key(|item| {
                    ["physical_volumes", "logical_volumes", "historical_logical_volumes"]
                        .iter()
                        .position(|part| *part == item.key)
                        .map_or(0, |at| at + 1)
                });
                items
            };
            let (ours, theirs) = (again.root.section("vg").unwrap(), tree.section("vg").unwrap());
            prop_assert_eq!(&ours.items, &parts(theirs));
            prop_assert_eq!(write(&again.root, dialect, &Notes::NONE).unwrap(), text);
        }
    }

    #[test]
    fn bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _unused = parse(&bytes).map_err(|error| error.to_string());
    }
}
