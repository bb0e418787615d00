//! Where a request's sandbox listens, by whichever way its target says.

use super::context::Context;
use crate::directory::{Dns, LocateError, Located};
use crate::error::Failure;
use crate::route::{HeaderError, Lookup, RouteError, Target};

/// Finds the endpoint.
pub(super) async fn locate(target: &Target, context: &Context) -> Result<Located, Failure> {
    let Some(dns) = &context.shared.dns else {
        return Ok(context.shared.directory.locate(&target.sandbox).await?);
    };
    match (&target.lookup, target.port) {
        (Lookup::Directory, None) => Ok(context.shared.directory.locate(&target.sandbox).await?),
        (Lookup::Directory, Some(port)) => {
            let Located { endpoint, generation } = context.shared.directory.locate(&target.sandbox).await?;
            Ok(dns.endpoint(endpoint.address().ip(), port, generation)?)
        }
        (Lookup::Dns, port) => Ok(dns.resolve(&target.sandbox, port.unwrap_or_default()).await?),
        (Lookup::Address(address), port) => {
            let located = dns.endpoint(*address, port.unwrap_or_default(), 0);
            located.map_err(|_| RouteError::Header(HeaderError::Address).into())
        }
    }
}

/// Finds it again after its host turned out to be gone.
pub(super) async fn relocate(target: &Target, gone: Located, context: &Context) -> Result<Located, Failure> {
    let address = gone.endpoint.address().ip();
    match (&target.lookup, &context.shared.dns) {
        (Lookup::Directory, _) => context.shared.directory.evict(&target.sandbox, gone.endpoint),
        (Lookup::Dns, Some(dns)) => Dns::evict(dns, &target.sandbox, address),
        (Lookup::Dns, None) | (Lookup::Address(_), _) => return Ok(gone),
    }
    locate(target, context).await
}

/// Whether the directory says, by now, that the sandbox is gone. Nobody else can: a name is forgotten, not withdrawn.
pub(super) async fn has_left(target: &Target, context: &Context) -> bool {
    target.lookup == Lookup::Directory
        && context.shared.directory.locate(&target.sandbox).await == Err(LocateError::NotFound)
}
