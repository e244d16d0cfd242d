//! The view on a terminal: keys in, frames out.
//!
//! What must hold:
//! - The terminal is as it was when this returns, when it panics (ratatui's hook), and when a signal asks to end.
//! - A look that failed is told in the view, and taken again; only one that fails at the very start ends it.

use super::draw::draw;
use super::gather::Gatherer;
use super::model::{Key, Model};
use crate::error::CliError;
use crate::interrupt::Interrupt;
use crate::map::Signs;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use std::io;
use std::time::{Duration, Instant};

/// How often it is looked.
const EVERY: Duration = Duration::from_millis(500);
/// How long keys are waited for, so that a signal is noticed soon.
const WAIT: Duration = Duration::from_millis(100);

/// Shows the view until somebody has seen enough.
pub(crate) fn run(gatherer: &mut Gatherer, signs: Signs) -> Result<(), CliError> {
    let mut model = Model::default();
    model.show(gatherer.look()?);
    let interrupt = Interrupt::watch()?;
    let broken = |error: io::Error| CliError::failed(format!("showing the view: {error}."));
    let mut terminal = ratatui::try_init().map_err(broken)?;
    let outcome = show(&mut terminal, gatherer, &mut model, &interrupt, signs);
    let restored = ratatui::try_restore();
    outcome.and(restored).map_err(broken)
}

fn show(
    terminal: &mut DefaultTerminal,
    gatherer: &mut Gatherer,
    model: &mut Model,
    interrupt: &Interrupt,
    signs: Signs,
) -> io::Result<()> {
    let mut next = Instant::now();
    while !interrupt.asked() {
        if Instant::now() >= next {
            look(gatherer, model);
            next = Instant::now().checked_add(EVERY).unwrap_or(next);
        }
        draw_map(gatherer, model);
        terminal.draw(|frame| draw(frame, model, signs))?;
        let wait = next.saturating_duration_since(Instant::now()).min(WAIT);
        if event::poll(wait)?
            && let Event::Key(pressed) = event::read()?
            && let Some(key) = key_of(pressed)
            && !model.press(key)
        {
            return Ok(());
        }
    }
    Ok(())
}

fn look(gatherer: &mut Gatherer, model: &mut Model) {
    match gatherer.look() {
        Ok(vgs) => {
            model.show(vgs);
            model.problem = None;
        }
        Err(error) => model.problem = error.message.lines().next().map(str::to_owned),
    }
}

fn draw_map(gatherer: &mut Gatherer, model: &mut Model) {
    let Some((vg, lv)) = model.chosen_lv().map(|(vg, lv)| (vg.name.clone(), lv.name.clone())) else { return };
    if let Some(map) = gatherer.map(&vg, &lv, model.map.is_none()) {
        model.map = Some(map.map_err(|error| error.message));
    }
}

fn key_of(pressed: KeyEvent) -> Option<Key> {
    if pressed.kind == KeyEventKind::Release {
        return None;
    }
    Some(match pressed.code {
        KeyCode::Char('c') if pressed.modifiers.contains(KeyModifiers::CONTROL) => Key::Quit,
        KeyCode::Char('q') | KeyCode::Esc => Key::Quit,
        KeyCode::Char('?' | 'h') => Key::Help,
        KeyCode::Up | KeyCode::Char('k') => Key::Up,
        KeyCode::Down | KeyCode::Char('j') => Key::Down,
        KeyCode::Home | KeyCode::Char('g') => Key::First,
        KeyCode::End | KeyCode::Char('G') => Key::Last,
        _ => return None,
    })
}
