//! Where a request's sandbox listens, by whichever way its target says.

use super::context::Context;
use crate::directory::{Endpoint, LocateError, Located};
use crate::error::Failure;
use crate::route::{HeaderError, Lookup, RouteError, Target};

/// Asks whoever knows. What the directory says has its own port, not yet the one that the request names.
pub(super) async fn locate(target: &Target, context: &Context) -> Result<Located, LocateError> {
    let port = target.port.unwrap_or_default();
    match (&target.lookup, &context.shared.dns) {
        (Lookup::Directory, _) => context.shared.directory.locate(&target.sandbox).await,
        (Lookup::Dns, Some(dns)) => dns.resolve(&target.sandbox, port).await,
        (Lookup::Address(address), Some(dns)) => dns.endpoint(*address, port, 0),
        (Lookup::Dns | Lookup::Address(_), None) => Err(LocateError::Unavailable),
    }
}

/// What the client is told where there is no endpoint. An address of its own choice that may not be dialled is its own
/// mistake.
pub(super) fn failure(target: &Target, error: LocateError) -> Failure {
    match (&target.lookup, error) {
        (Lookup::Address(_), LocateError::BadEndpoint(_)) => RouteError::Header(HeaderError::Address).into(),
        (_, error) => error.into(),
    }
}

/// The endpoint at the port that the request names, if it names one.
pub(super) fn endpoint(target: &Target, located: Located, context: &Context) -> Result<Endpoint, LocateError> {
    match target.port {
        Some(port) => context.shared.directory.at_port(located.endpoint, port),
        None => Ok(located.endpoint),
    }
}

/// Says that the host at `gone` cannot be reached: whoever named it is asked afresh.
pub(super) fn distrust(target: &Target, gone: Located, context: &Context) {
    match (&target.lookup, &context.shared.dns) {
        (Lookup::Directory, _) => context.shared.directory.evict(&target.sandbox, gone.endpoint),
        (Lookup::Dns, Some(dns)) => dns.evict(&target.sandbox, gone.endpoint.address().ip()),
        (Lookup::Dns, None) | (Lookup::Address(_), _) => {}
    }
}
