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
    prepare: prepare_lua,
    settle: |_| Ok(()),
};

fn prepare_plain(site: &Site) -> Result<Launch> {
    site.write("nginx.conf", include_str!("../../peers/nginx.conf"), &[descriptors()?])?;
    site.write("sandboxes.map", &site.lines(|index, sandbox, _| format!("{sandbox} pod_{index};\n")), &[])?;
    site.write("upstreams.conf", &site.lines(|index, _, pod| upstream(index, pod)), &[])?;
    Ok(launch(site))
}

fn prepare_lua(site: &Site) -> Result<Launch> {
    let redis = RedisServer::start()?;
    let address = redis.address();
    for (index, pod) in site.scene.pods.iter().enumerate() {
        let sandbox = format!("Sandbox_ID_{}", crate::subject::sandbox_id(index));
        hset(address, &sandbox, *pod)?;
    }
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

fn hset(redis: SocketAddr, field: &str, pod: SocketAddr) -> Result<()> {
    let (host, port) = (redis.ip().to_string(), redis.port().to_string());
    let output = Command::new("redis-cli")
        .args(["-h", &host, "-p", &port, "HSET", "vnc_sandboxes", field, &pod.to_string()])
        .output()
        .context("run redis-cli")?;
    ensure!(output.status.success(), "redis-cli: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
