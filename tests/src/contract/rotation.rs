//! Claims about rotation, whoever does it: the manager itself, or reads, writes and deletes.

use anyhow::Result;
use keyway_plugin_api::{Capabilities, RotateRequest, SecretName};

use super::Subject;

/// A manager that cannot delete shows that nothing is deleted; one that can keeps what it has all the same.
pub(super) async fn a_rotation_in_place_never_deletes(subject: Subject) -> Result<()> {
    let name = "contract/rotated";
    subject.write(name, "old").await?;
    for value in ["new", "newer", "newer"] {
        subject.manager.async_rotate_secret(RotateRequest::in_place(name, value)?).await?;
        subject.ensure_value(name, value.as_bytes()).await?;
    }
    if subject.manager.capabilities().contains(Capabilities::LIST) {
        let names = subject.manager.async_list_secrets(&Default::default()).await?;
        anyhow::ensure!(
            names.iter().filter(|other| *other == name).count() == 1,
            "the name is not listed once"
        );
    }
    Ok(())
}

pub(super) async fn a_rotation_to_another_name_moves(subject: Subject) -> Result<()> {
    subject.write("contract/before", "old").await?;
    subject.manager.async_rotate_secret(moved("contract/before", "contract/after")?).await?;
    subject.ensure_value("contract/after", b"new").await?;
    subject.ensure_absent("contract/before").await
}

pub(super) async fn a_rotation_of_what_is_absent_writes(subject: Subject) -> Result<()> {
    subject.manager.async_rotate_secret(moved("contract/never", "contract/created")?).await?;
    subject.ensure_value("contract/created", b"new").await?;
    subject.manager.async_rotate_secret(RotateRequest::in_place("contract/created too", "new")?).await?;
    subject.ensure_value("contract/created too", b"new").await
}

fn moved(from: &str, to: &str) -> Result<RotateRequest> {
    let mut request = RotateRequest::in_place(from, "new")?;
    request.new_name = SecretName::new(to)?;
    Ok(request)
}
