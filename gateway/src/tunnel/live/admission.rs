//! How many streams a client address and a sandbox may have at once.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use hashbrown::HashMap;

use super::locked;
use crate::route::SandboxId;

/// Limits that admit a stream; zero is no limit.
#[derive(Debug, Clone, Copy, Default)]
pub struct Caps {
    /// Streams per client address.
    pub per_client: u32,
    /// Streams per sandbox.
    pub per_sandbox: u32,
    /// A client's streams are counted with those of the same number here: caps of their own have places of their own.
    pub counted_with: usize,
}

/// Which cap a new stream would exceed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AdmitError {
    /// The client's.
    #[error("the client has {0} streams already, which is its limit")]
    Client(u32),
    /// The sandbox's.
    #[error("the sandbox has {0} streams already, which is its limit")]
    Sandbox(u32),
}

/// The places that are taken.
pub(super) struct Admission {
    admitted: Mutex<Admitted>,
}

#[derive(Default)]
struct Admitted {
    clients: HashMap<(IpAddr, usize), u32>,
    sandboxes: HashMap<SandboxId, u32>,
}

impl Admission {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { admitted: Mutex::default() })
    }

    pub(super) fn admit(
        self: &Arc<Self>,
        client: IpAddr,
        sandbox: &SandboxId,
        caps: Caps,
    ) -> Result<Permit, AdmitError> {
        let Caps { per_client, per_sandbox, counted_with } = caps;
        let key = (client, counted_with);
        let mut admitted = locked(&self.admitted);
        if per_client > 0 {
            let count = admitted.clients.entry(key).or_default();
            if *count >= per_client {
                return Err(AdmitError::Client(per_client));
            }
            *count += 1;
        }
        if per_sandbox > 0 {
            let count = admitted.sandboxes.entry(sandbox.clone()).or_default();
            if *count >= per_sandbox {
                if per_client > 0 {
                    release(&mut admitted.clients, &key);
                }
                return Err(AdmitError::Sandbox(per_sandbox));
            }
            *count += 1;
        }
        Ok(self.permit(client, sandbox, caps))
    }

    /// Counts in a stream that is there already, whatever the caps say.
    pub(super) fn admit_existing(self: &Arc<Self>, client: IpAddr, sandbox: &SandboxId, caps: Caps) -> Permit {
        let mut admitted = locked(&self.admitted);
        if caps.per_client > 0 {
            *admitted.clients.entry((client, caps.counted_with)).or_default() += 1;
        }
        if caps.per_sandbox > 0 {
            *admitted.sandboxes.entry(sandbox.clone()).or_default() += 1;
        }
        drop(admitted);
        self.permit(client, sandbox, caps)
    }

    fn permit(self: &Arc<Self>, client: IpAddr, sandbox: &SandboxId, caps: Caps) -> Permit {
        Permit { admission: Arc::clone(self), caps, client, sandbox: sandbox.clone() }
    }
}

fn release<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, u32>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(key);
        }
    }
}

/// A place under the caps, given back when dropped.
pub struct Permit {
    admission: Arc<Admission>,
    caps: Caps,
    client: IpAddr,
    pub(super) sandbox: SandboxId,
}

impl Permit {
    /// Whether a cap counts it: without any there is no place to give back.
    #[must_use]
    pub const fn is_bound(&self) -> bool {
        self.caps.per_client > 0 || self.caps.per_sandbox > 0
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.is_bound() {
            return;
        }
        let Caps { per_client, per_sandbox, counted_with } = self.caps;
        // What was not counted is not counted out: others may have been admitted under another cap.
        let mut admitted = locked(&self.admission.admitted);
        if per_client > 0 {
            release(&mut admitted.clients, &(self.client, counted_with));
        }
        if per_sandbox > 0 {
            release(&mut admitted.sandboxes, &self.sandbox);
        }
    }
}
