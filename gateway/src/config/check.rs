//! What values must keep among each other.

use std::collections::btree_map::{BTreeMap, Entry};

use super::choice::Source;
use super::problem::Problem;
use super::raw::Draft;

/// The secret in use and, while it takes the other's place, the one before it.
const AUTH_SECRETS_MAX: usize = 2;

/// Checks a draft whose values are right one by one.
pub(super) fn check(draft: &Draft, problems: &mut Vec<Problem>) {
    check_directory(draft, problems);
    check_addresses(draft, problems);
    check_limits(draft, problems);
    check_sources(draft, problems);
    check_auth(draft, problems);
}

fn check_directory(Draft { raw, origins, .. }: &Draft, problems: &mut Vec<Problem>) {
    if raw.redis_url.is_some() && !raw.sandboxes.is_empty() {
        let reason = "the directory is either this table or Redis";
        problems.push(Problem::Conflict { origin: origins.first("sandbox"), other: origins.first("redis"), reason });
    }
    let others = [("redis", raw.redis_url.is_some()), ("sandbox", !raw.sandboxes.is_empty())];
    for (other, _) in others.into_iter().filter(|(_, given)| *given && raw.directory_url.is_some()) {
        let (origin, other) = (origins.first("directory-url"), origins.first(other));
        problems.push(Problem::Conflict { origin, other, reason: "the directory is one of them" });
    }
    let mut seen = BTreeMap::new();
    for (index, entry) in raw.sandboxes.iter().enumerate() {
        let origin = origins.at("sandbox", index);
        match seen.entry(&entry.id) {
            Entry::Vacant(slot) => {
                slot.insert(origin);
            }
            Entry::Occupied(first) => {
                let reason = format!("sandbox '{}' was given before, at {}", entry.id, first.get());
                problems.push(Problem::BadValue { origin, reason });
            }
        }
    }
}

fn check_addresses(Draft { raw, origins, .. }: &Draft, problems: &mut Vec<Problem>) {
    if raw.listen.is_empty() {
        let reason = "expected an address at least".to_owned();
        problems.push(Problem::BadValue { origin: origins.first("listen"), reason });
    }
    for (index, address) in raw.listen.iter().enumerate() {
        let origin = origins.at("listen", index);
        // Port 0 is another port each time.
        if address.port() == 0 {
            continue;
        }
        if raw.listen[..index].contains(address) {
            problems.push(Problem::BadValue { origin, reason: format!("{address} was given before") });
        } else if *address == raw.admin {
            let reason = "clients and the admin service need an address each";
            problems.push(Problem::Conflict { origin, other: origins.first("admin"), reason });
        }
    }
}

fn check_limits(Draft { raw, origins, .. }: &Draft, problems: &mut Vec<Problem>) {
    if raw.http.request_line_bytes_max > raw.http.head_bytes_max {
        let (line, head) = (origins.first("request-line-bytes-max"), origins.first("head-bytes-max"));
        // The complaint goes to the one that somebody wrote.
        let (origin, other) = if line > head { (line, head) } else { (head, line) };
        problems.push(Problem::Conflict { origin, other, reason: "the head includes the request line" });
    }
}

fn check_sources(Draft { raw, origins, routes }: &Draft, problems: &mut Vec<Problem>) {
    if raw.sources.is_empty() {
        let reason = "expected a source at least: without any, no request finds its sandbox".to_owned();
        problems.push(Problem::BadValue { origin: origins.first("source"), reason });
    }
    if let Some(route) = routes.first().filter(|_| !raw.sources.contains(&Source::Broker)) {
        let reason = "routes need the source 'broker', which is not on";
        problems.push(Problem::Conflict { origin: route.origin.clone(), other: origins.first("source"), reason });
    }
}

/// A gateway whose manifest has lost its token must not serve everybody.
fn check_auth(Draft { raw, origins, .. }: &Draft, problems: &mut Vec<Problem>) {
    let open = raw.auth.token.is_none() && raw.auth.secret_files.is_empty();
    if raw.sources.contains(&Source::Header) && open && !raw.auth.allow_unauthenticated {
        let reason = "the header source needs --auth-token or --auth-secret-file, or --allow-unauthenticated true";
        problems.push(Problem::BadValue { origin: origins.first("source"), reason: reason.to_owned() });
    }
    if raw.auth.secret_files.len() > AUTH_SECRETS_MAX {
        let reason = format!("expected {AUTH_SECRETS_MAX} files at most: the secret in use and the one before it");
        problems.push(Problem::BadValue { origin: origins.at("auth-secret-file", AUTH_SECRETS_MAX), reason });
    }
}
