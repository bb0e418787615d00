//! The workers' threads, from the control thread's side.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::JoinHandle;

use super::{CLOSING_TIMEOUT, ServeError, system};
use crate::connection::Shared;
use crate::sys::{Backend, cpu};
use crate::worker::parting::Parting;
use crate::worker::{self, Station};

/// The workers' threads.
pub(super) struct Workers {
    threads: Vec<JoinHandle<()>>,
    failures: tokio::sync::mpsc::UnboundedReceiver<io::Error>,
}

impl Workers {
    /// Starts the threads, and returns once each accepts connections and has its descriptors to itself: sockets that
    /// are opened from then on are the control thread's alone.
    pub(super) async fn start(
        shared: &Arc<Shared>,
        backend: Backend,
        parting: Parting,
        listeners: Vec<Vec<TcpListener>>,
    ) -> Result<Self, ServeError> {
        tracing::info!(backend = backend.label(), "moving bytes with");
        let cores = cpu::allowed().map_err(system("cannot read the allowed cores"))?;
        // More workers than cores are left to the scheduler: pinning would put two on one core and leave none free.
        let pins = cores.len() >= listeners.len();
        let (failed, failures) = tokio::sync::mpsc::unbounded_channel();
        let (setting_up, mut set_up) = tokio::sync::mpsc::unbounded_channel::<()>();
        let parting = Arc::new(parting);
        let spawn = |(index, listeners)| {
            let (shared, parting, failed) = (Arc::clone(shared), Arc::clone(&parting), failed.clone());
            let (core, setting_up) = (pins.then(|| cores[index]), setting_up.clone());
            let station = Station { index, core, backend, listeners, setting_up };
            std::thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
                if let Err(error) = worker::run(&shared, parting, station) {
                    // Nobody listens any more once the program ends for another reason.
                    let _ending = failed.send(error).is_err();
                }
            })
        };
        let threads: io::Result<Vec<_>> = listeners.into_iter().enumerate().map(spawn).collect();
        let mut workers = Self { threads: threads.map_err(system("cannot start a worker"))?, failures };
        drop(setting_up);
        tokio::select! {
            parted = parting.control(|threads| shared.metrics.count_tables_of(threads)) => {
                parted.map_err(system("cannot give each worker a descriptor table"))?;
            }
            failed = workers.failed() => return Err(ServeError::Worker(failed)),
        }
        // A shutdown that came before they accept would count no connection, and not wait for those that do.
        tokio::select! {
            _all_have = set_up.recv() => Ok(workers),
            failed = workers.failed() => Err(ServeError::Worker(failed)),
        }
    }

    /// The first failure of a worker.
    pub(super) async fn failed(&mut self) -> io::Error {
        match self.failures.recv().await {
            Some(error) => error,
            None => io::Error::other("all workers ended"),
        }
    }

    /// Waits for the threads' ends, but not for long.
    pub(super) async fn join(self) {
        let joining = tokio::task::spawn_blocking(move || {
            self.threads.into_iter().map(JoinHandle::join).filter(Result::is_err).count()
        });
        match tokio::time::timeout(CLOSING_TIMEOUT, joining).await {
            Ok(Ok(0)) => {}
            _ => tracing::warn!("a worker did not end in order"),
        }
    }
}
