//! One core: its listeners, its accept loop, its connections.
//!
//! A worker shares nothing mutable with another but the directory, the metrics and the registry of streams. The kernel
//! spreads connections over the workers' listeners by itself (`SO_REUSEPORT`, Linux 3.9).

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::JoinSet;
use tracing::level_filters::LevelFilter;

use crate::bpf::offload::{Offload, Reports};
use crate::config::EngineChoice;
use crate::connection::{self, Context, Counted, Shared};
use crate::drain::Phase;
use crate::error::Failure;
use crate::metrics::Reason as RejectReason;
use crate::sys::{Backend, Driver, Listener, Socket, cpu};
use crate::tunnel::Plan;
use crate::tunnel::live::SWEEP_INTERVAL;

/// Connections that a listener still accepts once the gateway drains: as many as its queue may hold, and no more, since
/// a flood would keep it from ever stopping.
const DRAIN_ACCEPTS_MAX: u32 = 4096;

/// How long the accept loop rests after an error such as running out of descriptors: each attempt would fail alike.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Runs a worker on the calling thread until the shutdown is over.
///
/// # Errors
/// When its runtime or its listeners cannot be set up, or its ring fails.
pub fn run(
    shared: &Arc<Shared>,
    index: usize,
    core: Option<usize>,
    backend: Backend,
    listeners: Vec<TcpListener>,
) -> io::Result<()> {
    if let Some(core) = core {
        // A worker on any core is still a context.
        if let Err(error) = cpu::pin(core) {
            tracing::warn!(%error, core, "could not pin a worker");
        }
    }
    let shared = Arc::clone(shared);
    Driver::run(backend, move |driver| async move {
        let (kernel, reports) = offload(&shared).unzip();
        if let (Some(kernel), Some(reports)) = (&kernel, reports) {
            tokio::task::spawn_local(attend(Rc::clone(kernel), reports));
        }
        let eager = shared.config.engine == EngineChoice::Sockmap;
        let plan = Plan { kernel, eager, metrics: Arc::clone(&shared.metrics) };
        let context = Rc::new(Context::new(shared, index, driver, plan));
        let listeners: io::Result<Vec<_>> =
            listeners.into_iter().map(|listener| context.driver.listener(listener)).collect();
        work(context, listeners?).await;
        Ok(())
    })?
}

/// The worker's way into the kernel, where it is to have one. What is missing was told before the workers started; a
/// single worker that fails works without.
fn offload(shared: &Shared) -> Option<(Rc<Offload>, Reports)> {
    if !shared.offload {
        return None;
    }
    let streams = u32::try_from(shared.connections_max).unwrap_or(u32::MAX);
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

async fn work(context: Rc<Context>, listeners: Vec<Listener>) {
    let sweeping = tokio::task::spawn_local(sweep(Rc::clone(&context)));
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
}

/// Waits until no connection is left in the process.
pub async fn drained(shared: &Shared) {
    /// How often the count is looked at: it falls to zero once in the process's life.
    const LOOK: Duration = Duration::from_millis(20);
    while shared.connections.load(Ordering::Relaxed) > 0 {
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
    let counted = Counted::new(&context.shared);
    let context = Rc::clone(context);
    match counted {
        Some(counted) => drop(tokio::task::spawn_local(connection::serve(socket, client, context, counted))),
        None => {
            context.shared.metrics.connection_rejected(RejectReason::ConnectionsMax);
            let failure = Failure::Overloaded(context.shared.connections_max);
            drop(tokio::task::spawn_local(connection::refuse(socket, failure, context)));
        }
    }
}

async fn sweep(context: Rc<Context>) {
    let mut ticks = tokio::time::interval(SWEEP_INTERVAL);
    loop {
        ticks.tick().await;
        let stream = &context.config().stream;
        context.shared.live.sweep(context.index, stream.idle_timeout, stream.lifetime_max);
        context.pool.sweep();
        if let Some(kernel) = &context.plan.kernel {
            kernel.sweep();
        }
    }
}
