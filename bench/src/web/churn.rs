//! Somebody else who writes the directory all the time: what was there before, but each change makes caches ask again.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::subject::Table;

/// How long Redis may take for an answer.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(5);

/// Writes sandboxes into the hash, as whoever starts pods does.
pub(crate) fn write_directory(redis: SocketAddr, entries: &[(String, SocketAddr)]) -> Result<()> {
    write(&mut connect(redis)?, entries)
}

/// The hash as a subject's table. Its connection is made here and now.
pub(crate) fn redis_table(redis: SocketAddr) -> Result<Table> {
    let connection = Mutex::new(connect(redis)?);
    Ok(Arc::new(move |sandbox: &str, endpoint: SocketAddr| {
        let mut connection = connection.lock().expect("nobody panics with it");
        write(&mut connection, &[(sandbox.to_owned(), endpoint)])
    }))
}

fn connect(redis: SocketAddr) -> Result<BufReader<TcpStream>> {
    let socket = TcpStream::connect(redis)?;
    socket.set_read_timeout(Some(CHANGE_TIMEOUT))?;
    Ok(BufReader::new(socket))
}

fn write(redis: &mut BufReader<TcpStream>, entries: &[(String, SocketAddr)]) -> Result<()> {
    /// Entries of one command: few enough for Redis to answer others in between.
    const AT_ONCE: usize = 1000;
    for entries in entries.chunks(AT_ONCE) {
        let mut command = format!("*{}\r\n$4\r\nHSET\r\n$13\r\nvnc_sandboxes\r\n", 2 + 2 * entries.len());
        for (sandbox, endpoint) in entries {
            for word in [format!("Sandbox_ID_{sandbox}"), endpoint.to_string()] {
                let _ = write!(command, "${}\r\n{word}\r\n", word.len());
            }
        }
        redis.get_mut().write_all(command.as_bytes())?;
        let mut answer = String::new();
        redis.read_line(&mut answer)?;
        ensure!(answer.starts_with(':'), "Redis answered {answer:?}");
    }
    Ok(())
}

/// A directory, and what it says of every sandbox.
#[derive(Clone)]
pub(super) struct Aim {
    pub(super) table: Table,
    pub(super) entries: Arc<[(String, SocketAddr)]>,
}

/// A thread that makes so many changes a second, in the directory that the subject under load has: Redis, or a table of
/// its own. Nobody pays for a change of somebody else's table.
pub(super) struct Changing {
    aims: mpsc::Sender<Aim>,
    thread: thread::JoinHandle<Result<()>>,
}

impl Changing {
    pub(super) fn start(per_second: u32) -> Self {
        let (aims, new_aims) = mpsc::channel::<Aim>();
        let thread = thread::spawn(move || {
            let Some(pause) = Duration::from_secs(1).checked_div(per_second) else { return Ok(()) };
            // Not before somebody is under load.
            let Ok(mut aim) = new_aims.recv() else { return Ok(()) };
            let mut number = 0;
            loop {
                match new_aims.recv_timeout(pause) {
                    Ok(new) => aim = new,
                    Err(RecvTimeoutError::Disconnected) => return Ok(()),
                    Err(RecvTimeoutError::Timeout) => {
                        let (sandbox, endpoint) =
                            aim.entries.get(number % aim.entries.len()).context("a directory has a sandbox")?;
                        (aim.table)(sandbox, *endpoint)?;
                        number += 1;
                    }
                }
            }
        });
        Self { aims, thread }
    }

    /// From now on changes are made there.
    pub(super) fn aim(&self, aim: &Aim) {
        // Where no changes are wanted, or one has failed, nobody listens; `stop` tells which.
        let _unheard = self.aims.send(aim.clone()).is_err();
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
    use super::*;

    fn entries(count: u16) -> Arc<[(String, SocketAddr)]> {
        (1..=count).map(|number| (number.to_string(), SocketAddr::from(([127, 0, 0, 1], 80 + number)))).collect()
    }

    #[test]
    fn changes_go_where_they_are_aimed_and_come_round_again() {
        let (sender, changed) = mpsc::channel();
        let table: Table =
            Arc::new(
                move |sandbox: &str, endpoint: SocketAddr| Ok(sender.send((sandbox.to_owned(), endpoint.port()))?),
            );
        let changing = Changing::start(20);
        changing.aim(&Aim { table, entries: entries(2) });
        let first: Vec<(String, u16)> = changed.iter().take(3).collect();
        assert_eq!(first, [("1".to_owned(), 81), ("2".to_owned(), 82), ("1".to_owned(), 81)]);
        changing.stop().unwrap();
    }

    #[test]
    fn a_change_that_fails_is_told() {
        let table: Table = Arc::new(|_: &str, _: SocketAddr| anyhow::bail!("full"));
        let changing = Changing::start(1000);
        changing.aim(&Aim { table, entries: entries(1) });
        gateway_tests::wait::until("the change", Duration::from_secs(10), || {
            changing.thread.is_finished().then_some(())
        })
        .unwrap();
        assert_eq!(format!("{:#}", changing.stop().unwrap_err()), "change the directory: full");
    }
}
