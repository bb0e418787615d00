//! What the header source needs from the start: keys, and whom to ask for names.

use std::path::Path;
use std::sync::Arc;

use super::ServeError;
use super::observers::{Events, Found};
use crate::auth::{Bearer, Guard, Keys, Secret};
use crate::config::{AuthConfig, Config};
use crate::directory::{Dns, DnsTask, EndpointRules, dns};
use crate::metrics::Metrics;

/// The longest file that is read for a secret, in bytes. A key of more says that the path is wrong.
const SECRET_FILE_BYTES_MAX: u64 = 64 << 10;

/// Reads the secrets.
pub(super) fn guard(config: &AuthConfig) -> Result<Guard, ServeError> {
    let secrets: Vec<_> = config.secret_files.iter().map(|path| secret(path)).collect::<Result<_, _>>()?;
    let bearer = config.token.as_ref().and_then(|token| Bearer::new(token.secret()));
    let cookie_lifetime = i64::try_from(config.cookie_lifetime.as_secs()).unwrap_or(i64::MAX);
    Ok(Guard { bearer, keys: Keys::new(secrets), origins: config.origins.clone(), cookie_lifetime })
}

/// Reads the secret in a file.
pub(crate) fn secret(path: &Path) -> Result<Secret, ServeError> {
    let refused = |reason: String| ServeError::Secret { path: path.to_owned(), reason };
    let length = std::fs::metadata(path).map_err(|error| refused(error.to_string()))?.len();
    if length > SECRET_FILE_BYTES_MAX {
        return Err(refused(format!("expected a secret of {SECRET_FILE_BYTES_MAX} bytes at most")));
    }
    let text = std::fs::read(path).map_err(|error| refused(error.to_string()))?;
    Secret::new(&text).map_err(|error| refused(error.to_string()))
}

/// Both sides of the resolver, if the header source is on.
pub(super) fn dns(
    config: &Config,
    rules: &EndpointRules,
    metrics: &Arc<Metrics>,
    found: Arc<Found>,
) -> Result<Option<(Dns, DnsTask)>, ServeError> {
    if !config.routing.sources.header {
        return Ok(None);
    }
    let events = Arc::new(Events(Arc::clone(metrics)));
    Ok(Some(dns::new(&config.dns, rules.clone(), events, found)?))
}
