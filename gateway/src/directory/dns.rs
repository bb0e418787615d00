//! The cluster's DNS as a directory: `<name>.<namespace>.svc.<cluster domain>`, as Kubernetes names the pod behind a
//! headless service.
//!
//! ```text
//!  workers                       control thread
//!  Dns::resolve ── known ──>     answered in place
//!        └── Request (bounded) ──> DnsTask ── one question per name ──> server
//! ```
//!
//! An address is used until its time to live is over and not a moment longer; a name without one is remembered for a
//! moment, since a sandbox's name may appear any time. Whoever asks for a name that is being asked for waits for that
//! answer. The resolver keeps nothing itself.
//!
//! Names of sandboxes with streams or other connections are asked for again when their time is over. One that has lost
//! its address loses these too, once a second answer says the same: the name of a pod that is not ready for a moment
//! has none, either.

mod names;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use self::names::{Known, Names};
use super::endpoint::EndpointRules;
use super::record::RecordError;
use super::{DirectoryEvents, InvalidationCause, LiveSandboxes, LocateError, Located, LookupOutcome, LookupSource};
use crate::config::DnsConfig;
use crate::route::SandboxId;

/// How many questions of workers may wait for the task.
const REQUESTS_MAX: usize = 4096;

/// How many names are asked for at one time. A server that answers in a millisecond serves a quarter million a second.
const QUESTIONS_MAX: usize = 256;

/// How often sandboxes with connections are looked through for names whose time is over.
const RECHECK_INTERVAL: Duration = Duration::from_secs(1);

/// How many names are asked for at one time because of that.
const RECHECKS_MAX: usize = QUESTIONS_MAX / 4;

/// How often a question is sent, all servers together: one lost datagram is no reason to fail.
const SENDINGS: u32 = 2;

/// Why there is no resolver.
#[derive(Debug, thiserror::Error)]
#[error("no DNS server can be asked: {0}")]
pub struct DnsError(#[from] NetError);

/// The workers' side. Cheap to clone.
#[derive(Clone)]
pub struct Dns {
    shared: Arc<Shared>,
    requests: mpsc::Sender<Request>,
}

/// The control thread's side: asks the server.
pub struct DnsTask {
    shared: Arc<Shared>,
    requests: mpsc::Receiver<Request>,
    resolver: TokioResolver,
    domain: String,
    timeout: Duration,
    negative_ttl: Duration,
    live: Arc<dyn LiveSandboxes>,
    /// Who waits for which name. A name is here while it is asked for.
    waiting: HashMap<SandboxId, Vec<oneshot::Sender<Option<Known>>>>,
    questions: JoinSet<Said>,
    /// Sandboxes with connections whose names are to be asked for again.
    due: Vec<SandboxId>,
    /// Those whose names were asked for again, and whether the last answer had no address.
    missing: HashMap<SandboxId, bool>,
}

struct Shared {
    names: Mutex<Names>,
    rules: EndpointRules,
    events: Arc<dyn DirectoryEvents>,
}

/// Dropping it without an answer says that nobody could be asked.
struct Request {
    id: SandboxId,
    reply: oneshot::Sender<Option<Known>>,
}

/// What a server said about a name.
struct Said {
    id: SandboxId,
    /// The addresses, and until when they hold; `None` where nobody answered.
    answer: Option<(Vec<IpAddr>, Instant)>,
}

/// Both sides. Fails where `/etc/resolv.conf` is to name the servers, and does not.
pub fn new(
    config: &DnsConfig,
    rules: EndpointRules,
    events: Arc<dyn DirectoryEvents>,
    live: Arc<dyn LiveSandboxes>,
) -> Result<(Dns, DnsTask), DnsError> {
    let resolver = resolver(config)?;
    let names = Mutex::new(Names::new(config.cache_entries_max));
    let shared = Arc::new(Shared { names, rules, events });
    let (sender, requests) = mpsc::channel(REQUESTS_MAX);
    let task = DnsTask {
        shared: Arc::clone(&shared),
        requests,
        resolver,
        domain: config.cluster_domain.clone(),
        timeout: config.timeout,
        negative_ttl: config.negative_ttl,
        live,
        waiting: HashMap::new(),
        questions: JoinSet::new(),
        due: Vec::new(),
        missing: HashMap::new(),
    };
    Ok((Dns { shared, requests: sender }, task))
}

impl Dns {
    /// Where port `port` of `id` is now.
    pub async fn resolve(&self, id: &SandboxId, port: u16) -> Result<Located, LocateError> {
        let begun = Instant::now();
        let known = self.shared.names().lookup(id, begun);
        let (source, known) = match known {
            Some(known) => (LookupSource::Cache, Ok(known)),
            None => (LookupSource::Dns, self.ask(id).await),
        };
        let answer = match known {
            Ok(Some(known)) => self.endpoint(known.address, port, known.generation),
            Ok(None) => Err(LocateError::NotFound),
            Err(error) => Err(error),
        };
        self.shared.events.lookup(source, LookupOutcome::of(&answer), begun.elapsed());
        answer
    }

    /// An endpoint at an address that is known already, if the rules allow it. `generation` is that of the address; 0
    /// where the client named it.
    pub fn endpoint(&self, address: IpAddr, port: u16, generation: u64) -> Result<Located, LocateError> {
        let endpoint = self.shared.rules.check(SocketAddr::new(address, port)).map_err(RecordError::from)?;
        Ok(Located { endpoint, generation })
    }

    /// Says that the host at `address` is gone: the next lookup of `id` asks the server, if that is what is known.
    pub fn evict(&self, id: &SandboxId, address: IpAddr) {
        if self.shared.names().forget(id, address) {
            self.shared.events.invalidation(InvalidationCause::DialFailure);
        }
    }

    async fn ask(&self, id: &SandboxId) -> Result<Option<Known>, LocateError> {
        let (reply, answer) = oneshot::channel();
        self.requests.try_send(Request { id: id.clone(), reply }).map_err(|_| LocateError::Unavailable)?;
        answer.await.map_err(|_| LocateError::Unavailable)
    }
}

impl DnsTask {
    /// Serves until every [`Dns`] is dropped.
    pub async fn run(mut self) {
        let mut ticks = tokio::time::interval(RECHECK_INTERVAL);
        loop {
            tokio::select! {
                request = self.requests.recv(), if self.questions.len() < QUESTIONS_MAX => match request {
                    Some(request) => self.take(request),
                    None => return,
                },
                Some(said) = self.questions.join_next() => match said {
                    Ok(said) => {
                        self.answered(said);
                        self.ask_due();
                    }
                    // A question that panicked cannot say whose it was: everybody asks again.
                    Err(_) => self.waiting.clear(),
                },
                _ = ticks.tick() => self.recheck(),
            }
        }
    }

    fn take(&mut self, Request { id, reply }: Request) {
        // What was asked for in the same instant as another's question may have its answer by now.
        let known = self.shared.names().lookup(&id, Instant::now());
        if let Some(known) = known {
            let _gone = reply.send(known).is_err();
            return;
        }
        self.ask(&id);
        self.waiting.entry(id).or_default().push(reply);
    }

    fn ask(&mut self, id: &SandboxId) {
        if !self.waiting.contains_key(id) {
            self.waiting.insert(id.clone(), Vec::new());
            self.shared.events.question(LookupSource::Dns);
            self.questions.spawn(self.question(id.clone()));
        }
    }

    fn answered(&mut self, said: Said) {
        let waiters = self.waiting.remove(&said.id).unwrap_or_default();
        let Some((addresses, until)) = said.answer else { return };
        let known = self.shared.names().store(&said.id, &addresses, until);
        match (known, self.missing.get_mut(&said.id)) {
            (Some(known), _) => {
                self.missing.remove(&said.id);
                self.live.located(&said.id, known.generation);
            }
            (None, Some(missing)) if !*missing => *missing = true,
            (None, Some(_)) => self.live.close(&said.id),
            (None, None) => {}
        }
        for reply in waiters {
            // Whoever has stopped waiting needs no answer.
            let _gone = reply.send(known).is_err();
        }
    }

    /// Lists the names of sandboxes with connections whose time is over, unless the last list is not done.
    fn recheck(&mut self) {
        if self.due.is_empty() {
            let now = Instant::now();
            self.due = self.live.live();
            self.missing.retain(|id, _| self.due.binary_search(id).is_ok());
            self.due.retain(|id| self.shared.names().lookup(id, now).is_none());
        }
        self.ask_due();
    }

    /// Asks for what is on the list, as far as there is room beside the questions of workers.
    fn ask_due(&mut self) {
        while self.questions.len() < RECHECKS_MAX
            && let Some(id) = self.due.pop()
        {
            self.ask(&id);
            self.missing.entry(id).or_insert(false);
        }
    }

    fn question(&self, id: SandboxId) -> impl Future<Output = Said> + use<> {
        // The dot at the end keeps search domains away.
        let name = format!("{}.{}.svc.{}.", id.name(), id.namespace(), self.domain);
        let (resolver, timeout, negative_ttl) = (self.resolver.clone(), self.timeout, self.negative_ttl);
        async move {
            let asked = tokio::time::timeout(timeout, resolver.lookup_ip(name.as_str())).await;
            let answer = match asked {
                Ok(Ok(found)) => Some((found.iter().collect(), found.valid_until())),
                Ok(Err(error)) if error.is_no_records_found() => Some((Vec::new(), Instant::now() + negative_ttl)),
                Ok(Err(error)) => {
                    tracing::debug!(%name, %error, "a name could not be looked up");
                    None
                }
                Err(_) => None,
            };
            Said { id, answer }
        }
    }
}

impl Shared {
    /// The names are consistent between any two statements that could panic.
    fn names(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn resolver(config: &DnsConfig) -> Result<TokioResolver, DnsError> {
    let mut builder = match config.server {
        None => TokioResolver::builder_tokio()?,
        Some(server) => {
            let mut name_server = NameServerConfig::udp_and_tcp(server.ip());
            name_server.connections.iter_mut().for_each(|connection| connection.port = server.port());
            let servers = ResolverConfig::from_parts(None, Vec::new(), vec![name_server]);
            TokioResolver::builder_with_config(servers, TokioRuntimeProvider::default())
        }
    };
    let options: &mut ResolverOpts = builder.options_mut();
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    options.ip_strategy = LookupIpStrategy::Ipv4thenIpv6;
    options.attempts = 1;
    options.timeout = config.timeout / SENDINGS;
    Ok(builder.build()?)
}
