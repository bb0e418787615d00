//! Workers that lend shells: a shell lives in the sandbox, on a terminal of its own (pty(7)), and outlives both the
//! connections to it and the workers that make them.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;

use anyhow::{Context, Result};
use nix::pty::{Winsize, openpty};

use crate::pod::{Connection, Pod};
use crate::process::Process;
use crate::websocket::{Frame, Opcode, Sender};
use crate::wire::Head;
use crate::xterm;

/// The size of every terminal, the same as that of the page's.
const SIZE: Winsize = Winsize { ws_row: 30, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };

/// The shells of a sandbox by the names of their sessions, whichever worker has the sandbox. Clones are the same ones.
#[derive(Debug, Clone, Default)]
pub struct Shells(Arc<Mutex<HashMap<String, Arc<Shell>>>>);

/// A worker that connects a client to the shell its path names last, as `/pty/SESSION`, and serves the page with the
/// terminal to everybody else.
#[derive(Debug)]
pub struct TerminalWorker {
    pod: Pod,
    shells: Shells,
    is_leaving: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Shell {
    /// Held for its end: the shell gets SIGHUP with the last descriptor of the terminal's other side.
    _process: Process,
    keyboard: File,
    screen: Mutex<Screen>,
    changed: Condvar,
}

/// What the shell has written, and who is being shown it.
#[derive(Debug, Default)]
struct Screen {
    written: Vec<u8>,
    shown_bytes: usize,
    /// Counts attachments: the last one is shown what comes.
    attachments: usize,
    is_over: bool,
}

impl Shells {
    /// The shell of `session`, which is started if it is not there.
    fn open(&self, session: &str) -> Result<Arc<Shell>> {
        let mut shells = locked(&self.0);
        if let Some(shell) = shells.get(session) {
            return Ok(Arc::clone(shell));
        }
        let shell = Shell::start()?;
        shells.insert(session.to_owned(), Arc::clone(&shell));
        Ok(shell)
    }

    /// How many have been started.
    pub fn count(&self) -> usize {
        locked(&self.0).len()
    }

    fn wake(&self) {
        for shell in locked(&self.0).values() {
            shell.changed.notify_all();
        }
    }
}

impl TerminalWorker {
    /// A worker of the sandbox that has `shells`.
    pub fn start(shells: &Shells) -> Result<Self> {
        let is_leaving = Arc::new(AtomicBool::new(false));
        let pod = {
            let (shells, is_leaving) = (shells.clone(), Arc::clone(&is_leaving));
            Pod::start(move |request, connection| {
                if request.field("upgrade").is_some() {
                    attach(request, connection, &shells, &is_leaving)
                } else {
                    page(request, connection)
                }
            })?
        };
        Ok(Self { pod, shells: shells.clone(), is_leaving })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.pod.address()
    }

    /// Gives the sandbox up: every connection is closed with 1012 and the reason `migrating`, and none is accepted any
    /// more.
    pub fn leave(&self) {
        self.is_leaving.store(true, Ordering::Release);
        self.shells.wake();
    }
}

fn attach(request: &Head, connection: &mut Connection, shells: &Shells, is_leaving: &Arc<AtomicBool>) -> Result<()> {
    connection.close();
    if is_leaving.load(Ordering::Acquire) {
        return connection.send("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 9\r\n\r\nmigrating");
    }
    let path = request.target().split('?').next().unwrap_or_default();
    let shell = shells.open(path.rsplit('/').next().unwrap_or_default())?;
    connection.switch(request)?;
    let attachment = shell.attach();
    let (showing, sender, leaving) = (Arc::clone(&shell), connection.sender(), Arc::clone(is_leaving));
    let shown = thread::spawn(move || showing.show(attachment, &sender, &leaving));
    let typed = shell.type_frames(connection, is_leaving);
    // Ends the thread that shows.
    shell.detach(attachment);
    shown.join().expect("showing does not panic").or(typed)
}

impl Shell {
    fn start() -> Result<Arc<Self>> {
        let pty = openpty(Some(&SIZE), None).context("open a pseudoterminal")?;
        let stdio = |side: &OwnedFd| side.try_clone().map(Stdio::from);
        let (input, output, error) = (stdio(&pty.slave)?, stdio(&pty.slave)?, Stdio::from(pty.slave));
        // The terminal has to be the controlling one of the shell's session, or there is no job control.
        let process = Process::spawn("setsid", |command| {
            command.args(["--ctty", "--wait", "bash", "--norc", "--noprofile"]);
            command.env("PS1", "$ ").env("TERM", "xterm").env_remove("HISTFILE");
            command.stdin(input).stdout(output).stderr(error);
        })?;
        let mut screen = File::from(pty.master);
        let keyboard = screen.try_clone()?;
        let shell = Arc::new(Self { _process: process, keyboard, screen: Mutex::default(), changed: Condvar::new() });
        let written = Arc::downgrade(&shell);
        thread::spawn(move || {
            let mut piece = [0; 4096];
            // Reading fails with EIO once the shell has ended.
            while let Ok(count @ 1..) = screen.read(&mut piece) {
                let Some(shell) = written.upgrade() else { return };
                locked(&shell.screen).written.extend_from_slice(&piece[..count]);
                shell.changed.notify_all();
            }
            if let Some(shell) = written.upgrade() {
                locked(&shell.screen).is_over = true;
                shell.changed.notify_all();
            }
        });
        Ok(shell)
    }

    /// From now on this attachment is the one that is shown what comes.
    fn attach(&self) -> usize {
        let mut screen = locked(&self.screen);
        screen.attachments += 1;
        self.changed.notify_all();
        screen.attachments
    }

    fn detach(&self, attachment: usize) {
        let mut screen = locked(&self.screen);
        if screen.attachments == attachment {
            screen.attachments += 1;
        }
        self.changed.notify_all();
    }

    /// Sends what the shell writes, from where the last attachment was cut off, until somebody else is shown it.
    fn show(&self, attachment: usize, sender: &Sender, is_leaving: &AtomicBool) -> Result<()> {
        let mut screen = locked(&self.screen);
        loop {
            if screen.attachments != attachment {
                break;
            } else if screen.shown_bytes < screen.written.len() {
                sender.send(&Frame::binary(&screen.written[screen.shown_bytes..]))?;
                screen.shown_bytes = screen.written.len();
            } else if screen.is_over {
                sender.send(&Frame::close(1000, "shell ended"))?;
                break;
            } else if is_leaving.load(Ordering::Acquire) {
                sender.send(&Frame::close(1012, "migrating"))?;
                break;
            } else {
                screen = self.changed.wait(screen).expect("no thread panics while it holds the screen");
            }
        }
        drop(screen);
        sender.end()
    }

    /// Types what the frames bring, until they end.
    fn type_frames(&self, connection: &mut Connection, is_leaving: &AtomicBool) -> Result<()> {
        while let Some(frame) = connection.frame()? {
            match frame.opcode {
                Opcode::PING => connection.sender().send(&Frame::pong(frame.payload))?,
                // The answer to our own close, which nobody answers (RFC 6455 section 5.5.1).
                Opcode::CLOSE if is_leaving.load(Ordering::Acquire) || locked(&self.screen).is_over => return Ok(()),
                Opcode::CLOSE => return connection.sender().send(&frame),
                Opcode::PONG => {}
                _ => (&self.keyboard).write_all(&frame.payload)?,
            }
        }
        Ok(())
    }
}

fn page(request: &Head, connection: &Connection) -> Result<()> {
    let path = request.target().split('?').next().unwrap_or_default();
    let name = path.rsplit('/').next().unwrap_or_default();
    let (kind, content) = match xterm::FILES.iter().find(|file| file.name == name) {
        Some(file) if name.ends_with(".css") => ("text/css", fs::read(xterm::directory()?.join(file.name))?),
        Some(file) => ("text/javascript", fs::read(xterm::directory()?.join(file.name))?),
        None if name == "terminal.html" => ("text/html", xterm::PAGE.into()),
        None => return connection.send("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
    };
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n", content.len());
    connection.send([head.into_bytes(), content].concat())
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no thread panics while it holds a terminal")
}
