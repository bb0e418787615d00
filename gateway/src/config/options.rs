//! Every option, in the order of `--help` and the README.

use super::kind::{self, bytes, count};
use super::option::{Many, Maybe, One, Setting};

/// Options that belong together.
pub struct Group {
    /// The heading in `--help`.
    pub title: &'static str,
    /// Its options.
    pub options: &'static [Setting],
}

/// Every option of the program.
pub fn all() -> impl Iterator<Item = &'static Setting> {
    GROUPS.iter().flat_map(|group| group.options)
}

/// The option with this flag name.
#[must_use]
pub fn named(name: &str) -> Option<&'static Setting> {
    all().find(|setting| setting.name == name)
}

/// The row of one option. The field is named once, and read and written through the same path.
macro_rules! option {
    ($name:literal, $shape:ident($($field:ident).+, $kind:expr), $help:literal) => {
        Setting {
            name: $name,
            field: &$shape { get: |raw| &raw.$($field).+, get_mut: |raw| &mut raw.$($field).+, kind: $kind },
            help: $help,
        }
    };
}

// Behind the macro, which these use.
mod broker;
mod packet;
mod streams;
mod tokens;

/// Every option, by group.
pub static GROUPS: &[Group] = &[
    Group { title: "Process", options: PROCESS },
    Group { title: "Routing", options: ROUTING },
    Group { title: "Header source", options: HEADER },
    Group { title: "Tokens", options: tokens::TOKENS },
    Group { title: "Directory", options: DIRECTORY },
    Group { title: "Control plane", options: CONTROL_PLANE },
    Group { title: "HTTP", options: HTTP },
    Group { title: "Upstream", options: UPSTREAM },
    Group { title: "Streams", options: streams::STREAMS },
    Group { title: "Packet engine", options: packet::PACKET },
    Group { title: "Broker", options: broker::BROKER },
];

/// The group that the `routes` commands take as well.
pub static DIRECTORY: &[Setting] = &[
    option!(
        "sandbox",
        Many(sandboxes, kind::SANDBOX),
        "A sandbox of the embedded directory. A host name is looked up once, at start. In the file, the table \
         [sandboxes] with lines ID = \"HOST:PORT\" says the same. Not together with --redis."
    ),
    option!(
        "redis",
        Maybe(redis_url, kind::REDIS_URL),
        "Take the directory from this Redis server: redis://, rediss:// or unix://. Arguments are public on a machine: \
         give the password by variable, file or --redis-password-file."
    ),
    option!(
        "redis-password-file",
        Maybe(redis.password_file, kind::FILE),
        "File whose first line is the Redis password, read at each connect; it takes the place of the one in the URL."
    ),
    option!("redis-hash", One(redis.hash, kind::TEXT), "The Redis hash that maps sandboxes to endpoints."),
    option!(
        "redis-state-hash",
        One(redis.state_hash, kind::TEXT),
        "The Redis hash that says of a sandbox that it is running, migrating or stopped, under the same field; it need \
         not be there."
    ),
    option!(
        "redis-field-prefix",
        One(redis.field_prefix, kind::TEXT),
        "What stands before a sandbox's id in the names of the hash's fields."
    ),
    option!(
        "redis-connect-timeout",
        One(redis.connect_timeout, kind::DURATION_POSITIVE),
        "How long connecting to Redis may take, TLS and authentication included."
    ),
    option!(
        "redis-response-timeout",
        One(redis.response_timeout, kind::DURATION_POSITIVE),
        "How long an answer of Redis may take before the directory counts as unavailable."
    ),
    option!(
        "redis-cache-entries-max",
        One(redis.cache_entries_max, count::<usize, 1, 10_000_000>()),
        "How many sandboxes, known and unknown ones, are remembered."
    ),
    option!(
        "redis-negative-ttl",
        One(redis.negative_ttl, kind::DURATION),
        "How long an unknown sandbox is remembered as unknown; 0 asks Redis each time."
    ),
];

static CONTROL_PLANE: &[Setting] = &[
    option!(
        "directory-url",
        Maybe(directory_url, kind::DIRECTORY_URL),
        "Take the directory from a control plane: an http:// URL with {id} where the sandbox's id goes. Not together \
         with --redis or --sandbox."
    ),
    option!(
        "directory-ttl",
        One(control_plane.ttl, kind::DURATION),
        "How long an answer of the control plane holds that does not say it itself; 0 asks each time."
    ),
    option!(
        "directory-timeout",
        One(control_plane.timeout, kind::DURATION_POSITIVE),
        "How long a question to the control plane may take, its connection included."
    ),
    option!(
        "directory-entries-max",
        One(control_plane.entries_max, count::<usize, 1, 10_000_000>()),
        "How many answers of the control plane are remembered."
    ),
];

static PROCESS: &[Setting] = &[
    option!("listen", Many(listen, kind::ADDRESS), "Where clients connect. Port 0 takes a free one and prints it."),
    option!(
        "admin",
        One(admin, kind::ADDRESS),
        "Where /metrics, /healthz, /readyz and /streams are served. There is no authentication: keep it private."
    ),
    option!("workers", One(workers, kind::WORKERS), "Worker threads; auto is one per core that the process may use."),
    option!(
        "io",
        One(io, kind::IO),
        "What the workers wait with: io_uring, or epoll where the kernel or a seccomp profile forbids it."
    ),
    option!(
        "engine",
        One(engine, kind::ENGINE),
        "What moves the bytes of established streams; auto takes the cheapest that this machine can run."
    ),
    option!(
        "connections-max",
        One(http.connections_max, count::<usize, 0, 10_000_000>()),
        "Client connections of the whole process; 0 derives the limit from RLIMIT_NOFILE and the number of workers."
    ),
    option!(
        "drain-delay",
        One(drain_delay, kind::DURATION),
        "How long connections are still accepted after SIGTERM, with readiness red, so that load balancers notice."
    ),
    option!(
        "drain-timeout",
        One(drain_timeout, kind::DURATION),
        "How long live streams may go on after SIGTERM; 0 closes them at once."
    ),
    option!(
        "log",
        One(log, kind::LOG_FORMAT),
        "Log lines for people or as JSON; auto decides by whether stderr is a terminal."
    ),
    option!(
        "log-level",
        One(log_level, kind::LOG_FILTER),
        "Which log lines are written: error, warn, info, debug or trace, also by target: info,access=off."
    ),
];

static ROUTING: &[Setting] = &[
    option!(
        "source",
        Many(sources, kind::SOURCE),
        "How requests may name their sandbox: path, cookie, host, agent, header, prefix, broker. What is not listed \
         does not exist."
    ),
    option!(
        "path-prefix",
        One(routing.path_prefix, kind::PATH_PREFIX),
        "Where the path and cookie sources live; begins and ends with a slash."
    ),
    option!(
        "path-strip",
        One(routing.strip, kind::SWITCH),
        "Whether prefix and id are cut from the path that the sandbox sees."
    ),
    option!("cookie-name", One(routing.cookie_name, kind::COOKIE_NAME), "The cookie that remembers a tab's sandbox."),
    option!(
        "websocket-hint",
        One(routing.websocket_hint, kind::WEBSOCKET_HINT),
        "How noVNC learns its WebSocket path, so that two tabs keep to their own sandboxes: by a redirect that adds \
         the path parameter, by the cookie alone, or not at all."
    ),
    option!(
        "host-pattern",
        One(routing.host.pattern, kind::HOST_PATTERN),
        "How the host source reads the first label of a host name."
    ),
    option!(
        "host-domain",
        Many(routing.host.domains, kind::DOMAIN),
        "What follows that label; without any, every domain does. Other hosts are for the other sources."
    ),
    option!(
        "host-agent",
        One(routing.host.agent, kind::SWITCH),
        "Whether the directory names host agents, which are asked for /proxy/ID/PORT/..., instead of the pods."
    ),
    option!(
        "agent-prefix",
        One(routing.agent_prefix, kind::PATH_PREFIX),
        "What stands before ID/PORT on the way to a host agent, and where the agent source lives."
    ),
    option!(
        "service-prefix",
        One(routing.service_prefix, kind::PATH_PREFIX),
        "Where the prefix source lives: NAMESPACE/ID/PORT/... follows."
    ),
    option!(
        "service-prefix-keep",
        Many(routing.service_prefix_keep, count::<u16, 1, 65_535>()),
        "A port whose applications know their prefix and get it with every path: Jupyter by its base_url, Vite by its \
         base."
    ),
    option!(
        "default-sandbox",
        Maybe(routing.default_sandbox, kind::SANDBOX_ID),
        "The sandbox that gets the requests which no source covers; without one they are answered with 404."
    ),
    option!(
        "trusted-proxy",
        Many(trusted_proxies, kind::NETWORK),
        "A network whose X-Forwarded-For, -Proto and -Host fields are believed."
    ),
];

static HEADER: &[Setting] = &[
    option!(
        "header-lookup",
        One(routing.header.lookup, kind::HEADER_LOOKUP),
        "Who knows the address of a sandbox that is named by X-Sandbox-ID: the cluster's DNS, or the directory."
    ),
    option!(
        "cluster-domain",
        One(dns.cluster_domain, kind::DOMAIN),
        "What the cluster's names end with: <id>.<namespace>.svc.<domain>."
    ),
    option!(
        "dns-server",
        Maybe(dns.server, kind::ADDRESS),
        "The DNS server that is asked; without one, those of /etc/resolv.conf."
    ),
    option!(
        "dns-timeout",
        One(dns.timeout, kind::DURATION_POSITIVE),
        "How long one question to it may take, repetitions included."
    ),
    option!(
        "dns-negative-ttl",
        One(dns.negative_ttl, kind::DURATION),
        "How long a name without an address is remembered as one, at most; 0 asks each time."
    ),
    option!(
        "dns-cache-entries-max",
        One(dns.cache_entries_max, count::<usize, 1, 10_000_000>()),
        "How many names are remembered; an address never longer than its time to live."
    ),
    option!(
        "allow-loopback-pod-ip",
        One(routing.header.allow_loopback_pod_ip, kind::SWITCH),
        "Whether X-Sandbox-Pod-IP may be a loopback address: the gateway's own machine. For tests."
    ),
    option!(
        "strip-sandbox-headers",
        One(routing.header.strip_sandbox_headers, kind::SWITCH),
        "Whether the X-Sandbox fields stay behind; the sandbox sees them otherwise."
    ),
    option!(
        "header-upgrade-origin",
        One(routing.header.upgrade_origin, kind::ORIGIN),
        "What the sandbox sees of an upgrade's Origin: what the client sent, nothing, or its own address."
    ),
];

static HTTP: &[Setting] = &[
    option!(
        "request-line-bytes-max",
        One(http.request_line_bytes_max, bytes::<256, { 1 << 20 }>()),
        "The longest request line; more is answered with 414."
    ),
    option!(
        "head-bytes-max",
        One(http.head_bytes_max, bytes::<512, { 1 << 20 }>()),
        "The longest head, request line included; more is answered with 431."
    ),
    option!(
        "head-fields-max",
        One(http.fields_max, count::<usize, 1, 1000>()),
        "Header fields of one head; more is answered with 431."
    ),
    option!(
        "head-timeout",
        One(http.head_timeout, kind::DURATION_POSITIVE),
        "From a request's first byte to the end of its head, however steadily it dribbles."
    ),
    option!(
        "keepalive-timeout",
        One(http.keepalive_timeout, kind::DURATION_POSITIVE),
        "How long a client connection may wait for its next request. Make it longer than the load \
         balancer's: 620s for Google's."
    ),
    option!(
        "body-timeout",
        One(http.body_timeout, kind::DURATION_POSITIVE),
        "How long a client may neither send more of its request body nor take more of its response."
    ),
    option!(
        "response-timeout",
        One(http.response_timeout, kind::DURATION_POSITIVE),
        "From the end of a request to the end of the sandbox's response head."
    ),
    option!(
        "host-header",
        One(http.host_header, kind::HOST_HEADER),
        "The Host that the sandbox sees: its own endpoint, what the client sent, or always the same text, with \
         the port where it says {port}."
    ),
    option!(
        "upgrade-cookies",
        One(http.upgrade_cookies, kind::SWITCH),
        "Whether the sandbox sees the cookies of an upgrade; some desktops' servers break off at heads over 4 KiB."
    ),
];

static UPSTREAM: &[Setting] = &[
    option!(
        "dial-timeout",
        One(upstream.dial.timeout, kind::DURATION_POSITIVE),
        "How long one TCP connect to a sandbox may take."
    ),
    option!(
        "dial-attempts",
        One(upstream.dial.attempts, count::<u32, 1, 10>()),
        "How often a sandbox is dialled in all."
    ),
    option!(
        "dial-backoff",
        One(upstream.dial.backoff, kind::DURATION),
        "The wait after the n-th failed attempt is n times this."
    ),
    option!(
        "pool-idle-max",
        One(upstream.pool_idle_max, count::<usize, 0, 1024>()),
        "Idle connections kept per sandbox and worker; 0 keeps none."
    ),
    option!(
        "pool-idle-timeout",
        One(upstream.pool_idle_timeout, kind::DURATION_POSITIVE),
        "How long an idle connection to a sandbox is kept."
    ),
    option!(
        "upstream-allow",
        Many(upstream.allow, kind::NETWORK),
        "A network in which endpoints may lie, whatever the directory says; without any, they may lie anywhere."
    ),
];
