//! Somebody else who writes the directory all the time: what was there before, but each change makes caches ask again.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::slice;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::subject::Table;

/// How long Redis may take for an answer.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(5);

/// Writes sandboxes into the hash, as whoever starts pods does.
pub(crate) fn write_directory(redis: SocketAddr, entries: &[(String, SocketAddr)]) -> Result<()> {
    /// Entries of one command: few enough for Redis to answer others in between.
    const AT_ONCE: usize = 1000;
    let socket = TcpStream::connect(redis)?;
    socket.set_read_timeout(Some(CHANGE_TIMEOUT))?;
    let mut answers = BufReader::new(socket.try_clone()?);
    let mut socket = socket;
    for entries in entries.chunks(AT_ONCE) {
        let mut command = format!("*{}\r\n$4\r\nHSET\r\n$13\r\nvnc_sandboxes\r\n", 2 + 2 * entries.len());
        for (sandbox, endpoint) in entries {
            for word in [format!("Sandbox_ID_{sandbox}"), endpoint.to_string()] {
                let _ = write!(command, "${}\r\n{word}\r\n", word.len());
            }
        }
        socket.write_all(command.as_bytes())?;
        let mut answer = String::new();
        answers.read_line(&mut answer)?;
        ensure!(answer.starts_with(':'), "Redis answered {answer:?}");
    }
    Ok(())
}

/// A thread that makes so many changes a second, in the directory that the subject under load has: Redis, or a table of
/// its own. Nobody pays for a change of somebody else's table.
pub(super) struct Changing {
    aims: mpsc::Sender<Option<Table>>,
    thread: thread::JoinHandle<Result<()>>,
}

impl Changing {
    pub(super) fn start(redis: SocketAddr, entries: Vec<(String, SocketAddr)>, per_second: u32) -> Self {
        let (aims, new_aims) = mpsc::channel::<Option<Table>>();
        let thread = thread::spawn(move || {
            let Some(pause) = Duration::from_secs(1).checked_div(per_second) else { return Ok(()) };
            // Not before somebody is under load.
            let Ok(mut table) = new_aims.recv() else { return Ok(()) };
            let mut entries = entries.iter().cycle();
            loop {
                match new_aims.recv_timeout(pause) {
                    Ok(aim) => table = aim,
                    Err(RecvTimeoutError::Disconnected) => return Ok(()),
                    Err(RecvTimeoutError::Timeout) => {
                        let entry = entries.next().context("a directory has a sandbox")?;
                        match &table {
                            None => write_directory(redis, slice::from_ref(entry))?,
                            Some(table) => table(&entry.0, entry.1)?,
                        }
                    }
                }
            }
        });
        Self { aims, thread }
    }

    /// From now on changes are made there; `None`: in Redis.
    pub(super) fn aim(&self, table: Option<&Table>) {
        // Where no changes are wanted, or one has failed, nobody listens; `stop` tells which.
        let _unheard = self.aims.send(table.cloned()).is_err();
    }

    /// # Errors
    ///
    /// When a change has failed.
    pub(super) fn stop(self) -> Result<()> {
        drop(self.aims);
        self.thread.join().expect("the thread does not panic").context("change the directory")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn changes_go_where_they_are_aimed_and_come_round_again() {
        let entries =
            [("1", 81), ("2", 82)].map(|(id, port)| (id.to_owned(), SocketAddr::from(([127, 0, 0, 1], port))));
        let (sender, changed) = mpsc::channel();
        let table: Table =
            Arc::new(
                move |sandbox: &str, endpoint: SocketAddr| Ok(sender.send((sandbox.to_owned(), endpoint.port()))?),
            );
        // Nobody answers at this address: not one change may go there.
        let changing = Changing::start(SocketAddr::from(([127, 0, 0, 1], 1)), entries.into(), 20);
        changing.aim(Some(&table));
        let first: Vec<(String, u16)> = changed.iter().take(3).collect();
        assert_eq!(first, [("1".to_owned(), 81), ("2".to_owned(), 82), ("1".to_owned(), 81)]);
        changing.stop().unwrap();
    }

    #[test]
    fn a_change_that_fails_is_told() {
        let table: Table = Arc::new(|_: &str, _: SocketAddr| anyhow::bail!("full"));
        let changing =
            Changing::start(([127, 0, 0, 1], 1).into(), vec![("1".to_owned(), ([127, 0, 0, 1], 81).into())], 1000);
        changing.aim(Some(&table));
        gateway_tests::wait::until("the change", Duration::from_secs(10), || {
            changing.thread.is_finished().then_some(())
        })
        .unwrap();
        assert_eq!(format!("{:#}", changing.stop().unwrap_err()), "change the directory: full");
    }
}
