//! nginx, twice: with its routing table in the configuration, and with Lua that asks Redis for each request.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result};
use gateway_tests::redis::RedisServer;
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::program::Program;
use super::site::{Launch, Site};
use super::{Peer, no_table};
use crate::subject::Table;
use crate::web::write_directory;

/// The cheaper one: a change of the table is a reload.
pub(super) const PLAIN: Peer = Peer {
    name: "nginx",
    program: Program::Debian("nginx"),
    needs: &[],
    by_cookie: true,
    has_many: true,
    frames_on: None,
    prepare: prepare_plain,
    settle: |_| Ok(()),
    table,
};

/// The one that is replaced.
pub(super) const LUA: Peer = Peer {
    name: "nginx lua redis",
    program: Program::Debian("nginx"),
    needs: &[
        ("/usr/lib/nginx/modules/ngx_http_lua_module.so", "libnginx-mod-http-lua"),
        ("/usr/share/lua/5.1/ngx/balancer.lua", "lua-resty-core"),
        ("redis-server", "redis-server"),
    ],
    by_cookie: true,
    has_many: true,
    frames_on: None,
    prepare: prepare_lua,
    settle: |_| Ok(()),
    table: no_table,
};

fn prepare_plain(site: &Site) -> Result<Launch> {
    site.write("nginx.conf", include_str!("../../peers/nginx.conf"), &[descriptors()?])?;
    site.write("sandboxes.map", &site.lines(|index, sandbox, _| format!("{sandbox} pod_{index};\n")), &[])?;
    let pods = site.scene.pods.iter().enumerate();
    site.write("upstreams.conf", &pods.map(|(index, pod)| upstream(index, *pod)).collect::<String>(), &[])?;
    Ok(launch(site))
}

/// Changes that one reload takes in: at the hundred a second of `session`, a reload every two seconds. A sandbox waits
/// as long as that, and is unknown meanwhile; with fewer changes at once, nginx would read its table all the time.
pub(super) const CHANGES_PER_RELOAD: usize = 200;

/// The whole table is written anew, and read by new workers; the old ones end with their connections.
fn table(site: &Site, master: Pid) -> Result<Option<Table>> {
    let (map, new) = (site.path("sandboxes.map"), site.path("sandboxes.map.new"));
    let pods = site.scene.pods.to_vec();
    let entries: BTreeMap<String, SocketAddr> = site.scene.directory().collect();
    let state = Mutex::new((entries, 0));
    Ok(Some(Arc::new(move |sandbox: &str, endpoint: SocketAddr| {
        let mut state = state.lock().expect("nobody panics with it");
        let (entries, changes) = &mut *state;
        entries.insert(sandbox.to_owned(), endpoint);
        *changes += 1;
        if *changes % CHANGES_PER_RELOAD == 0 {
            let mut text = String::new();
            for (sandbox, endpoint) in entries {
                let pod = pods.iter().position(|pod| pod == endpoint).context("a pod that has an upstream")?;
                writeln!(text, "{sandbox} pod_{pod};")?;
            }
            fs::write(&new, text).and_then(|()| fs::rename(&new, &map))?;
            kill(master, Signal::SIGHUP)?;
        }
        Ok(())
    })))
}

fn prepare_lua(site: &Site) -> Result<Launch> {
    let (redis, address) = match site.scene.redis {
        Some(address) => (None, address),
        None => {
            let redis = RedisServer::start()?;
            let address = redis.address();
            write_directory(address, &site.scene.directory().collect::<Vec<_>>())?;
            (Some(redis), address)
        }
    };
    let values = [
        descriptors()?,
        ("modules", "/usr/lib/nginx/modules".to_owned()),
        ("redis_host", address.ip().to_string()),
        ("redis_port", address.port().to_string()),
    ];
    site.write("nginx.conf", include_str!("../../peers/nginx-lua/nginx.conf"), &values)?;
    site.write("router.lua", include_str!("../../peers/nginx-lua/router.lua"), &[])?;
    site.write("redis_hget.lua", include_str!("../../peers/nginx-lua/redis_hget.lua"), &[])?;
    Ok(Launch { parts: Box::new(redis), ..launch(site) })
}

/// Connections to a pod that nginx keeps, for each worker.
fn upstream(index: usize, pod: SocketAddr) -> String {
    format!("upstream pod_{index} {{ server {pod}; keepalive 256; keepalive_requests 100000000; }}\n")
}

fn descriptors() -> Result<(&'static str, String)> {
    let (_, descriptors) = getrlimit(Resource::RLIMIT_NOFILE).context("ask for the limit of descriptors")?;
    Ok(("descriptors", descriptors.min(1 << 20).to_string()))
}

fn launch(site: &Site) -> Launch {
    // `-e` before the configuration is read: Debian's compiled-in log is root's.
    Launch::new(["-e", "stderr", "-p", &site.path(""), "-c", &site.path("nginx.conf")])
}
