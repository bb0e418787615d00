//! One core: its listeners, its accept loop, its connections.
//!
//! A worker shares nothing mutable with another but the directory, the metrics and the registry of streams. The kernel
//! spreads connections over the workers' listeners by itself (`SO_REUSEPORT`, Linux 3.9). Its descriptors are its own,
//! too (`parting`).

pub mod parting;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinSet;
use tracing::level_filters::LevelFilter;

use crate::bpf::offload::{Offload, Reports};
use crate::config::EngineChoice;
use crate::connection::{self, Context, Counted, Shared};
use crate::drain::Phase;
use crate::error::Failure;
use crate::metrics::{Reason as RejectReason, UpstreamState};
use crate::sys::{Backend, Driver, Listener, Socket, cpu};
use crate::tunnel::live::SWEEP_INTERVAL;
use crate::tunnel::{Plan, UserEngine};
use parting::Parting;

/// Connections that a listener still accepts once the gateway drains: as many as its queue may hold, and no more, since
/// a flood would keep it from ever stopping.
const DRAIN_ACCEPTS_MAX: u32 = 4096;

/// How long the accept loop rests after an error such as running out of descriptors: each attempt would fail alike.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What tells one worker from another.
pub struct Station {
    /// Its number, from 0.
    pub index: usize,
    /// The core that it is pinned to.
    pub core: Option<usize>,
    /// What it waits with.
    pub backend: Backend,
    /// Its listening sockets.
    pub listeners: Vec<TcpListener>,
    /// Dropped when it begins to accept.
    pub setting_up: UnboundedSender<()>,
}

/// Runs a worker on the calling thread until the shutdown is over.
///
/// # Errors
/// When its runtime or its listeners cannot be set up, or its ring fails.
pub fn run(shared: &Arc<Shared>, parting: Arc<Parting>, station: Station) -> io::Result<()> {
    let Station { index, core, backend, listeners, setting_up } = station;
    if let Some(core) = core {
        // A worker on any core is still a context.
        if let Err(error) = cpu::pin(core) {
            tracing::warn!(%error, core, "could not pin a worker");
        }
    }
    leave_signals_to_the_control_thread()?;
    let shared = Arc::clone(shared);
    Driver::run(backend, move |driver| async move {
        parting.worker(index).await;
        // What is opened from here on exists in this thread's table alone, and may do so before the first connection.
        let (kernel, reports) = offload(&shared, index).unzip();
        if let (Some(kernel), Some(reports)) = (&kernel, reports) {
            tokio::task::spawn_local(attend(Rc::clone(kernel), reports));
        }
        let eager = matches!(shared.config.engine, EngineChoice::Sockmap | EngineChoice::Packet);
        let user = match shared.config.engine {
            EngineChoice::Splice => UserEngine::Splice,
            EngineChoice::Auto | EngineChoice::Copy | EngineChoice::Sockmap | EngineChoice::Packet => UserEngine::Copy,
        };
        let splicer = shared.splicer.clone();
        let plan = Plan { user, kernel, splicer, eager, metrics: Arc::clone(&shared.metrics) };
        let context = Rc::new(Context::new(shared, index, driver, plan));
        let listeners: io::Result<Vec<_>> =
            listeners.into_iter().map(|listener| context.driver.listener(listener)).collect();
        let listeners = listeners?;
        drop(setting_up);
        work(context, listeners).await;
        Ok(())
    })?
}

/// The worker's way into the kernel, where it is to have one. What is missing was told before the workers started; a
/// single worker that fails works without.
fn offload(shared: &Shared, worker: usize) -> Option<(Rc<Offload>, Reports)> {
    if !shared.offload {
        return None;
    }
    let streams = u32::try_from(shared.table(worker).connections.max()).unwrap_or(u32::MAX);
    match Offload::start(streams, LevelFilter::current()) {
        Ok(started) => Some(started),
        Err(error) => {
            tracing::error!(%error, "this worker's streams stay in user space");
            None
        }
    }
}

async fn attend(kernel: Rc<Offload>, reports: Reports) {
    if let Err(error) = kernel.attend(reports).await {
        // The sweeper still sees what the events would have told, a second later at most.
        tracing::error!(%error, "the kernel's events cannot be read");
    }
}

/// Blocks every signal but those that this thread's own faults raise. The process's signals then reach the thread that
/// waits for them.
fn leave_signals_to_the_control_thread() -> io::Result<()> {
    let mut signals = SigSet::all();
    for fault in [Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGILL, Signal::SIGFPE, Signal::SIGTRAP, Signal::SIGABRT] {
        signals.remove(fault);
    }
    Ok(signals.thread_block()?)
}

async fn work(context: Rc<Context>, listeners: Vec<Listener>) {
    let sweeping = tokio::task::spawn_local(sweep(Rc::clone(&context)));
    let resetting = tokio::task::spawn_local(reset_marked(Rc::clone(&context)));
    let mut accepting = JoinSet::new();
    for listener in listeners {
        accepting.spawn_local(accept(Rc::clone(&context), listener));
    }
    while accepting.join_next().await.is_some() {}
    // Every connection is a task of its own; the last one to be counted out ends the wait. Streams end with the
    // deadline.
    let drain = context.shared.drain.clone();
    tokio::select! {
        () = drain.reached(Phase::Expired) => {}
        () = drained(&context.shared) => {}
    }
    sweeping.abort();
    resetting.abort();
}

/// Waits until no connection is left in the process, and no stream without one.
pub async fn drained(shared: &Shared) {
    /// How often the count is looked at: it falls to zero once in the process's life.
    const LOOK: Duration = Duration::from_millis(20);
    while shared.connections.taken() > 0 || !shared.live.is_empty() {
        tokio::time::sleep(LOOK).await;
    }
}

async fn accept(context: Rc<Context>, listener: Listener) {
    let drain = context.shared.drain.clone();
    let mut draining = std::pin::pin!(drain.reached(Phase::Draining));
    let mut stopping = false;
    let mut last_ones = DRAIN_ACCEPTS_MAX;
    loop {
        // What the kernel has completed for us is ours to answer: a listener that stops would reset it.
        if stopping && (!listener.has_waiting() || last_ones == 0) {
            listener.stop();
        }
        last_ones -= u32::from(stopping && last_ones > 0);
        let accepted = {
            let mut accepted = std::pin::pin!(listener.accept());
            loop {
                tokio::select! {
                    biased;
                    accepted = &mut accepted => break accepted,
                    () = &mut draining, if !stopping => {
                        stopping = true;
                        // The accept is ended, not dropped: a connection that it has already taken still comes out.
                        if !listener.has_waiting() {
                            listener.stop();
                        }
                    }
                }
            }
        };
        match accepted {
            Ok((socket, client)) => admit(&context, socket, client),
            Err(_) if stopping => return,
            Err(error) => {
                tracing::warn!(%error, "could not accept a connection");
                context.shared.metrics.connection_rejected(reject_reason(&error));
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn reject_reason(error: &io::Error) -> RejectReason {
    match error.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE) => RejectReason::Descriptors,
        _ => RejectReason::Other,
    }
}

fn admit(context: &Rc<Context>, socket: Socket, client: SocketAddr) {
    let shared = &context.shared;
    let counted = Counted::new(shared, context.index);
    match counted {
        Ok(counted) => {
            context.pool.make_room(context.idle_max());
            let serving = connection::serve(socket, client, Rc::clone(context), counted);
            drop(tokio::task::spawn_local(serving));
        }
        Err(limit) => {
            shared.metrics.connection_rejected(RejectReason::ConnectionsMax);
            // Beyond that many at a time a client is cut off without a word: its socket is wanted by those who are
            // served.
            if let Some(place) = shared.table(context.index).refusals.take() {
                let refusing = connection::refuse(socket, Failure::Overloaded(limit), Rc::clone(context), place);
                drop(tokio::task::spawn_local(refusing));
            }
        }
    }
}

/// Resets the idle connections of sandboxes that end or move, as soon as that is known.
async fn reset_marked(context: Rc<Context>) {
    loop {
        context.shared.register.marked(context.index).await;
        let count = context.pool.reset_marked();
        context.shared.metrics.upstream_reset(UpstreamState::Idle, count);
    }
}

async fn sweep(context: Rc<Context>) {
    let mut ticks = tokio::time::interval(SWEEP_INTERVAL);
    loop {
        ticks.tick().await;
        let stream = &context.config().stream;
        context.shared.live.sweep(context.index, stream.idle_timeout, stream.lifetime_max);
        context.pool.sweep();
        context.driver.pipes().sweep();
        if let Some(kernel) = &context.plan.kernel {
            kernel.sweep();
        }
    }
}
