//! nginx, twice: with its routing table in the configuration, and with Lua that asks Redis for each request.

use std::net::SocketAddr;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use gateway_tests::redis::RedisServer;
use nix::sys::resource::{Resource, getrlimit};

use super::Peer;
use super::program::Program;
use super::site::{Launch, Site};

/// The cheaper one: a change of the table is a reload.
pub(super) const PLAIN: Peer = Peer {
    name: "nginx",
    program: Program::Debian("nginx"),
    needs: &[],
    by_cookie: true,
    sandboxes_max: usize::MAX,
    prepare: prepare_plain,
    settle: |_| Ok(()),
};

/// The one that is replaced.
pub(super) const LUA: Peer = Peer {
    name: "nginx lua redis",
    program: Program::Debian("nginx"),
    needs: &[
        ("/usr/lib/nginx/modules/ngx_http_lua_module.so", "libnginx-mod-http-lua"),
        ("/usr/share/lua/5.1/ngx/balancer.lua", "lua-resty-core"),
        ("redis-server", "redis-server"),
        ("redis-cli", "redis-server"),
    ],
    by_cookie: true,
    sandboxes_max: usize::MAX,
    prepare: prepare_lua,
    settle: |_| Ok(()),
};

fn prepare_plain(site: &Site) -> Result<Launch> {
    site.write("nginx.conf", include_str!("../../peers/nginx.conf"), &[descriptors()?])?;
    site.write("sandboxes.map", &site.lines(|pod, sandbox, _| format!("{sandbox} pod_{pod};\n")), &[])?;
    let upstreams: String = site.scene.pods.iter().enumerate().map(|(number, pod)| upstream(number, *pod)).collect();
    site.write("upstreams.conf", &upstreams, &[])?;
    Ok(launch(site))
}

fn prepare_lua(site: &Site) -> Result<Launch> {
    // Where the scene has no Redis, it brings one along, with the little that there is.
    let own = match site.scene.redis {
        Some(_) => None,
        None => Some(filled_redis(site)?),
    };
    let given = site.scene.redis.map(|url| url.trim_start_matches("redis://").trim_end_matches('/').parse());
    let address = given.transpose().context("an address in the URL of Redis")?;
    let address: SocketAddr = address.or(own.as_ref().map(RedisServer::address)).context("a Redis")?;
    let values = [
        descriptors()?,
        ("modules", "/usr/lib/nginx/modules".to_owned()),
        ("redis_host", address.ip().to_string()),
        ("redis_port", address.port().to_string()),
    ];
    site.write("nginx.conf", include_str!("../../peers/nginx-lua/nginx.conf"), &values)?;
    site.write("router.lua", include_str!("../../peers/nginx-lua/router.lua"), &[])?;
    site.write("redis_hget.lua", include_str!("../../peers/nginx-lua/redis_hget.lua"), &[])?;
    Ok(Launch { parts: Box::new(own), ..launch(site) })
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

fn filled_redis(site: &Site) -> Result<RedisServer> {
    let redis = RedisServer::start()?;
    let (host, port) = (redis.address().ip().to_string(), redis.address().port().to_string());
    for (sandbox, pod) in site.scene.directory() {
        let output = Command::new("redis-cli")
            .args(["-h", &host, "-p", &port, "HSET", "vnc_sandboxes", &format!("Sandbox_ID_{sandbox}")])
            .arg(pod.to_string())
            .output()
            .context("run redis-cli")?;
        ensure!(output.status.success(), "redis-cli: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(redis)
}
