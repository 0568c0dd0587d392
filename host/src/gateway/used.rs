//! Which secrets are put on a request, for the audit log.

use std::{sync::Arc, time::Duration};

use crate::{
    gateway::{
        deployment::{BodyValue, Deployment, HeaderText},
        error::{GatewayError, SecretFault},
        state::GatewayState,
    },
    service::{
        SecretHandle, Version,
        audit::{Event, Happening},
        caller::Caller,
    },
};

/// Writes a line for each secret that goes to an upstream with a request: the key as it is presented, and whatever else of
/// the deployment stands behind a reference. What stands in the configuration itself is nobody's secret to hand out.
///
/// # Errors
/// [`GatewayError::SecretUnavailable`] when the log is required and cannot be written; nothing may be sent then.
pub(super) async fn record(
    state: &GatewayState,
    deployment: &Deployment,
    credential: Option<&Version>,
) -> Result<(), GatewayError> {
    let Some(log) = &state.audit else { return Ok(()) };
    let key = deployment.api_key.as_ref().zip(credential).map(|(handle, version)| (handle, version.clone()));
    let others = others(deployment).filter_map(|handle| Some((handle, handle.version()?)));
    for (handle, version) in key.into_iter().chain(others) {
        let Some(origin) = &version.origin else { continue };
        let event = Event {
            event: Happening::Used,
            caller: Caller::MasterKey,
            operation: "request",
            manager: origin,
            name: handle.reference(),
            outcome: "OK",
            latency: Duration::ZERO,
            cache: None,
            generation: Some(version.generation),
        };
        log.record(&event)
            .await
            .map_err(|_| GatewayError::secret(handle.reference(), SecretFault::NotLogged))?;
    }
    Ok(())
}

fn others(deployment: &Deployment) -> impl Iterator<Item = &Arc<SecretHandle>> {
    let headers = deployment.headers.iter().filter_map(|(_, text)| match text {
        HeaderText::Secret(handle) => Some(handle),
        HeaderText::Literal(_) => None,
    });
    let mut in_body = Vec::new();
    for default in &deployment.defaults {
        gather(&default.value, &mut in_body);
    }
    deployment.target.secrets().chain(headers).chain(in_body)
}

fn gather<'a>(value: &'a BodyValue, found: &mut Vec<&'a Arc<SecretHandle>>) {
    match value {
        BodyValue::Json(_) => {}
        BodyValue::Secret(handle) => found.push(handle),
        BodyValue::List(items) => items.iter().for_each(|item| gather(item, found)),
        BodyValue::Map(entries) => entries.iter().for_each(|entry| gather(&entry.value, found)),
    }
}
