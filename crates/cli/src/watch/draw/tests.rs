//! What people see, as pictures of the terminal: whatever is asked of the view, nothing that matters is left out.

use super::super::lines::report;
use super::super::model::{Key, LvView, MergeView, Model, VgView};
use super::draw;
use crate::map::tests::map;
use crate::map::{Signs, What};
use foldback_units::Sectors;
use ratatui::Terminal;
use ratatui::backend::TestBackend;

const MIB: u64 = 2048;

fn lv(name: &str, mebibytes: u64) -> LvView {
    LvView {
        id: name.to_owned(),
        name: name.to_owned(),
        is_snapshot: false,
        size: Sectors(mebibytes * MIB),
        active: true,
        open: false,
        held: None,
        invalid: false,
        fill: None,
        store_seconds: None,
        merge: None,
        place: None,
    }
}

fn snapshot(name: &str, mebibytes: u64, fill: u64) -> LvView {
    LvView { is_snapshot: true, fill: Some(fill), ..lv(name, mebibytes) }
}

fn model() -> Model {
    let merge = MergeView {
        snapshot: "before".to_owned(),
        left: Some(Sectors(300 * MIB)),
        total: Some(Sectors(400 * MIB)),
        rate: Some(Sectors(25 * MIB)),
        seconds: Some(12),
        failed: false,
        paused: false,
    };
    let system = VgView {
        name: "system".to_owned(),
        size: Sectors(20_480 * MIB),
        free: Sectors(4_000 * MIB),
        trouble: None,
        lvs: vec![
            LvView {
                open: true,
                merge: Some(merge),
                place: Some("/dev/loop0".to_owned()),
                ..lv("root", 4096)
            },
            LvView { store_seconds: Some(700), ..snapshot("daily", 512, 7_341) },
            LvView { invalid: true, ..snapshot("a-name-that-is-much-too-long", 64, 10_000) },
            LvView { active: false, ..lv("swap", 1024) },
        ],
    };
    let data = VgView {
        name: "data".to_owned(),
        size: Sectors(1 << 31),
        free: Sectors(0),
        trouble: Some("somebody removed data/files from the metadata".to_owned()),
        lvs: vec![LvView { held: Some("requests wait".to_owned()), ..lv("files", 1 << 20) }],
    };
    let mut model = Model::default();
    model.show(vec![system, data]);
    model.map = Some(Ok(map(What::Merge("before".to_owned()), &[(0, 300), (512, 1)], Some(&[(400, 100)]))));
    model
}

fn drawn(model: &Model, width: u16, height: u16, signs: Signs) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, model, signs)).unwrap();
    terminal.backend().to_string()
}

#[test]
fn a_terminal_of_80_columns_and_24_rows() {
    insta::assert_snapshot!(drawn(&model(), 80, 24, Signs::Blocks));
}

#[test]
fn a_terminal_of_letters() {
    insta::assert_snapshot!(drawn(&model(), 80, 24, Signs::Ascii));
}

#[test]
fn a_small_terminal() {
    insta::assert_snapshot!(drawn(&model(), 44, 9, Signs::Blocks));
}

#[test]
fn help_lies_over_it() {
    let mut model = model();
    assert!(model.press(Key::Help));
    insta::assert_snapshot!(drawn(&model, 80, 24, Signs::Blocks));
    assert!(model.press(Key::Quit), "closes the help");
    assert!(!model.press(Key::Quit));
}

#[test]
fn a_pipe_gets_lines() {
    insta::assert_snapshot!(report(&model().vgs));
}

/// Whatever the size, the chosen volume is seen, and nothing panics.
#[test]
fn the_chosen_volume_is_always_seen() {
    let mut model = model();
    loop {
        let chosen = model.chosen_lv().unwrap().1.name[..4].to_owned();
        for width in [24, 30, 50, 61, 73, 80, 200] {
            for height in [4, 5, 8, 13, 14, 20, 60] {
                let shown = drawn(&model, width, height, Signs::Blocks);
                assert!(
                    shown.contains(&format!("> {chosen}")) || shown.contains(&format!("\u{2500} {chosen}")),
                    "{shown}"
                );
            }
        }
        let before = model.chosen;
        model.press(Key::Down);
        if model.chosen == before {
            return;
        }
    }
}

#[test]
fn any_size_is_drawn() {
    for (width, height) in [(1, 1), (23, 40), (200, 3), (300, 120)] {
        assert!(!drawn(&model(), width, height, Signs::Ascii).is_empty());
    }
}

#[test]
fn what_was_chosen_stays_chosen() {
    let mut model = model();
    model.press(Key::Last);
    assert_eq!(model.chosen_lv().unwrap().1.name, "files");
    let mut vgs = model.vgs.clone();
    vgs[0].lvs.truncate(1);
    vgs.reverse();
    model.map = None;
    model.show(vgs.clone());
    assert_eq!(model.chosen_lv().unwrap().1.name, "files");
    vgs.remove(0);
    model.show(vgs);
    assert_eq!(model.chosen_lv().unwrap().1.name, "root", "what is left");
}
