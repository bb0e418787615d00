//! The terminal: a screen of its own while the table is on it, and the keys.

use std::io::{self, Stdout, Write as _};
use std::time::Duration;

use crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers, poll, read};
use crossterm::style::{Attribute, Print, SetAttribute};
use crossterm::terminal::{
    Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode, size,
};
use crossterm::{cursor, execute, queue};

use super::table::Step;

/// The terminal, which is as it was before when this is dropped.
pub(super) struct Screen(Stdout);

/// What somebody wants.
pub(super) enum Key {
    Leave,
    Table(Step),
    Redraw,
}

/// A line of the screen.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) text: String,
    pub(super) is_heading: bool,
}

impl Screen {
    pub(super) fn open() -> io::Result<Self> {
        enable_raw_mode()?;
        let mut screen = Self(io::stdout());
        execute!(screen.0, EnterAlternateScreen, cursor::Hide)?;
        Ok(screen)
    }

    /// Columns and lines.
    #[expect(clippy::unused_self, reason = "the size of a screen that is open")]
    pub(super) fn size(&self) -> io::Result<(usize, usize)> {
        let (columns, lines) = size()?;
        Ok((columns.into(), lines.into()))
    }

    /// Shows `lines`, which are as many as fit at most. Written over what is there, so that nothing flickers.
    pub(super) fn draw(&mut self, lines: &[Line]) -> io::Result<()> {
        let Self(out) = self;
        for (row, line) in (0..).zip(lines) {
            queue!(out, cursor::MoveTo(0, row))?;
            if line.is_heading {
                queue!(out, SetAttribute(Attribute::Reverse))?;
            }
            queue!(out, Print(&line.text), SetAttribute(Attribute::Reset), Clear(ClearType::UntilNewLine))?;
        }
        let below = u16::try_from(lines.len()).unwrap_or(u16::MAX);
        queue!(out, cursor::MoveTo(0, below), Clear(ClearType::FromCursorDown))?;
        out.flush()
    }

    /// The next key within `limit`; those that mean nothing are passed over.
    #[expect(clippy::unused_self, reason = "the keys of a screen that is open")]
    pub(super) fn key(&self, limit: Duration) -> io::Result<Option<Key>> {
        if !poll(limit)? {
            return Ok(None);
        }
        Ok(Some(match read()? {
            Event::Key(key) if key.kind != KeyEventKind::Release => meaning(key).unwrap_or(Key::Redraw),
            _ => Key::Redraw,
        }))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Whatever fails here, nobody can be told on this terminal.
        let _left = execute!(self.0, cursor::Show, LeaveAlternateScreen).and_then(|()| disable_raw_mode()).is_ok();
    }
}

fn meaning(key: KeyEvent) -> Option<Key> {
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return (key.code == KeyCode::Char('c')).then_some(Key::Leave);
    }
    Some(match key.code {
        KeyCode::Char('q') | KeyCode::Esc => Key::Leave,
        KeyCode::Left => Key::Table(Step::ColumnBefore),
        KeyCode::Right => Key::Table(Step::ColumnAfter),
        KeyCode::Char('r') => Key::Table(Step::Reverse),
        KeyCode::Up => Key::Table(Step::Up),
        KeyCode::Down => Key::Table(Step::Down),
        KeyCode::PageUp => Key::Table(Step::PageUp),
        KeyCode::PageDown => Key::Table(Step::PageDown),
        KeyCode::Home => Key::Table(Step::First),
        KeyCode::End => Key::Table(Step::Last),
        _ => return None,
    })
}
