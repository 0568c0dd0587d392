//! A change of one name, and what a member's answer to it means.

use std::time::Duration;

use keyway_plugin_api::{DeleteRequest, Error, ErrorKind, Result, SecretName, WriteReceipt, WriteRequest};

use crate::service::member::Member;

/// A change that is to reach all members.
pub(super) enum Operation {
    /// A value under a name.
    Write(WriteRequest),
    /// A name without a value.
    Delete(DeleteRequest),
}

impl Operation {
    pub(super) fn name(&self) -> &SecretName {
        match self {
            Operation::Write(request) => &request.name,
            Operation::Delete(request) => &request.name,
        }
    }

    pub(super) fn word(&self) -> &'static str {
        match self {
            Operation::Write(_) => "write",
            Operation::Delete(_) => "delete",
        }
    }

    /// Whether an answer means that the member has what it should: to delete what is not there is to have deleted it.
    pub(super) fn holds<T>(&self, answer: &Result<T>) -> bool {
        match answer {
            Ok(_) => true,
            Err(error) => matches!(self, Operation::Delete(_)) && error.kind() == ErrorKind::NotFound,
        }
    }

    pub(super) async fn run(&self, member: &Member, limit: Duration) -> Result<WriteReceipt> {
        match self {
            Operation::Write(request) => member.write(request, limit).await,
            Operation::Delete(request) => {
                member.delete(request, limit).await.map(|()| WriteReceipt::default())
            }
        }
    }
}

/// Whether a member said that it will not have this change, which no repair alters.
pub(super) fn is_refusal(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Denied | ErrorKind::InvalidName | ErrorKind::TooLarge | ErrorKind::Unsupported
    )
}
