//! Several managers one after another: a new store in front of the one that it replaces.
//!
//! The first member takes the writes. Only "not found" leads to the next member, unless the chain was told to go on at
//! an error as well; then a secret that no member has shown is not absent, since one of them could not be asked.

use std::ops::ControlFlow;

use keyway_plugin_api::{
    Capabilities, DeleteRequest, Error, ErrorKind, ListRequest, ReadRequest, Result, RotateRequest, Secret,
    SecretManager, SecretName, WriteReceipt, WriteRequest, async_trait, manager::rotate_by_writing,
};

use super::member::{Deadline, Member};
use crate::config::OnMemberError;

/// A manager that asks its members in order.
#[derive(Debug)]
pub struct Chain {
    members: Vec<Member>,
    on_error: OnMemberError,
}

impl Chain {
    /// A chain of members, the first one first. Without any, it can do nothing.
    pub fn new(members: Vec<Member>, on_error: OnMemberError) -> Self {
        Chain { members, on_error }
    }

    fn first(&self) -> Result<&Member> {
        self.members.first().ok_or_else(empty)
    }

    /// What a read has come to when no member has answered it.
    fn nobody(&self, name: &SecretName, held: Option<Error>) -> Error {
        match held {
            Some(error) => error,
            None if self.members.is_empty() => empty(),
            None => Error::not_found(name),
        }
    }

    /// The time for the next member, of which there are `left`.
    fn time(&self, deadline: Deadline, left: usize) -> std::time::Duration {
        match self.on_error {
            OnMemberError::Fail => deadline.left(),
            OnMemberError::Next => deadline.share(left),
        }
    }

    /// Whether a member's answer is the chain's, with the first error so far.
    fn verdict<T>(
        &self,
        member: &Member,
        answer: Result<T>,
        held: &mut Option<Error>,
    ) -> ControlFlow<Result<T>> {
        match answer {
            Ok(value) => ControlFlow::Break(Ok(value)),
            Err(error) if error.kind() == ErrorKind::NotFound => ControlFlow::Continue(()),
            Err(error) if self.on_error == OnMemberError::Fail => ControlFlow::Break(Err(error)),
            Err(error) => {
                tracing::warn!(manager = member.name, kind = %error.kind(), "a member of the chain failed and was passed over");
                held.get_or_insert(error);
                ControlFlow::Continue(())
            }
        }
    }

    /// Deletes from a member after the first; one that cannot delete must not have the secret.
    async fn delete_from(
        &self,
        member: &Member,
        request: &DeleteRequest,
        deadline: Deadline,
    ) -> Result<bool> {
        let name = &request.name;
        match member.delete(request, deadline.left()).await {
            Ok(()) => return Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            Err(error) if error.kind() != ErrorKind::Unsupported => return Err(error),
            Err(_unsupported) => {}
        }
        let read = ReadRequest {
            optional_params: request.optional_params.clone(),
            ..ReadRequest::named(name.clone())
        };
        match member.read(&read, deadline.left()).await {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
            Ok(_) => Err(Error::new(
                ErrorKind::Conflict,
                format!(
                    "cannot delete {name}: the manager {} has it as well and cannot delete, so that it would come back from there; delete it there first",
                    member.name
                ),
            )),
        }
    }
}

fn empty() -> Error {
    Error::unavailable("the chain has no members")
}

#[async_trait]
impl SecretManager for Chain {
    async fn async_read_secret(&self, request: &ReadRequest) -> Result<Secret> {
        let deadline = Deadline::after(request.timeout);
        let mut held = None;
        for (index, member) in self.members.iter().enumerate() {
            let limit = self.time(deadline, self.members.len() - index);
            let answer = member.read(request, limit).await;
            if let ControlFlow::Break(answer) = self.verdict(member, answer, &mut held) {
                return answer;
            }
        }
        Err(self.nobody(&request.name, held))
    }

    fn sync_read_secret(&self, request: &ReadRequest) -> Result<Secret> {
        let mut held = None;
        for member in &self.members {
            let answer = member.manager.sync_read_secret(request);
            if let ControlFlow::Break(answer) = self.verdict(member, answer, &mut held) {
                return answer;
            }
        }
        Err(self.nobody(&request.name, held))
    }

    async fn async_write_secret(&self, request: &WriteRequest) -> Result<WriteReceipt> {
        self.first()?.manager.async_write_secret(request).await
    }

    /// Deletes from every member, the last one first: a failure leaves what a read shows as it was.
    async fn async_delete_secret(&self, request: &DeleteRequest) -> Result<()> {
        let deadline = Deadline::after(request.timeout);
        let mut deleted = false;
        for member in self.members.iter().skip(1).rev() {
            deleted |= self.delete_from(member, request, deadline).await?;
        }
        match self.first()?.delete(request, deadline.left()).await {
            Err(error) if error.kind() == ErrorKind::NotFound && deleted => Ok(()),
            answer => answer,
        }
    }

    async fn async_rotate_secret(&self, request: RotateRequest) -> Result<WriteReceipt> {
        if request.current_name == request.new_name {
            return self.first()?.manager.async_rotate_secret(request).await;
        }
        let first = self.first()?;
        if !first.manager.capabilities().contains(Capabilities::DELETE) {
            let (current, new) = (&request.current_name, &request.new_name);
            let undone = format_args!("rotate {current} to {new}");
            return Err(Error::not_implemented(&first.name, "delete", undone));
        }
        rotate_by_writing(self, request).await
    }

    /// The names of all members together.
    async fn async_list_secrets(&self, request: &ListRequest) -> Result<Vec<String>> {
        let deadline = Deadline::after(request.timeout);
        let mut names = Vec::new();
        for member in &self.members {
            // A list that lacks a member's names would be wrong without saying so, so every error ends it.
            names.extend(member.list(request, deadline.left()).await?);
        }
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    /// A chain that fails at a member's error needs all members; one that goes on needs one.
    async fn health_check(&self) -> Result<()> {
        let mut held = None;
        for member in &self.members {
            match (member.health().await, self.on_error) {
                (Ok(()), OnMemberError::Next) => return Ok(()),
                (Ok(()), OnMemberError::Fail) => {}
                (Err(error), OnMemberError::Fail) => return Err(error),
                (Err(error), OnMemberError::Next) => {
                    held.get_or_insert(error);
                }
            }
        }
        held.map_or(Ok(()), Err)
    }

    async fn shutdown(&self) {
        for member in &self.members {
            member.manager.shutdown().await;
        }
    }

    fn capabilities(&self) -> Capabilities {
        let each = self.members.iter().map(|member| member.manager.capabilities());
        let all = each.clone().fold(Capabilities::all(), Capabilities::intersection);
        let first = each.clone().next().unwrap_or(Capabilities::empty());
        Capabilities::READ
            | Capabilities::HEALTH
            | first & (Capabilities::WRITE | Capabilities::DELETE)
            | all & (Capabilities::LIST | Capabilities::SYNC_READ)
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use super::*;
    use crate::service::fake::Fake;

    fn chain(on_error: OnMemberError, members: [&Arc<Fake>; 2]) -> Chain {
        Chain::new(members.map(Fake::member).into(), on_error)
    }

    async fn read(chain: &Chain) -> Result<String, ErrorKind> {
        let secret = chain.async_read_secret(&ReadRequest::new("key").unwrap()).await;
        secret.map(|secret| secret.expose_str().unwrap().to_owned()).map_err(|error| error.kind())
    }

    #[tokio::test]
    async fn only_not_found_leads_to_the_next_member() {
        let (primary, legacy) = (Fake::new("primary"), Fake::new("legacy"));
        let chain = chain(OnMemberError::Fail, [&primary, &legacy]);
        assert_eq!(read(&chain).await, Err(ErrorKind::NotFound));
        legacy.put("key", "old");
        assert_eq!(read(&chain).await.unwrap(), "old");
        primary.put("key", "new");
        assert_eq!(read(&chain).await.unwrap(), "new");
        for kind in ErrorKind::ALL.into_iter().filter(|kind| *kind != ErrorKind::NotFound) {
            primary.fail(Some(kind));
            assert_eq!(read(&chain).await, Err(kind));
        }
    }

    #[tokio::test]
    async fn a_chain_that_goes_on_at_errors_never_calls_an_outage_absent() {
        let (primary, legacy) = (Fake::new("primary"), Fake::new("legacy"));
        let chain = chain(OnMemberError::Next, [&primary, &legacy]);
        primary.fail(Some(ErrorKind::Unavailable));
        assert_eq!(read(&chain).await, Err(ErrorKind::Unavailable));
        legacy.put("key", "old");
        assert_eq!(read(&chain).await.unwrap(), "old");
        chain.health_check().await.unwrap();
        legacy.fail(Some(ErrorKind::Denied));
        assert_eq!(read(&chain).await, Err(ErrorKind::Unavailable));
        assert!(chain.health_check().await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_member_that_hangs_leaves_time_for_the_next() {
        let (primary, legacy) = (Fake::new("primary"), Fake::new("legacy"));
        primary.hang(true);
        legacy.put("key", "old");
        let chain = chain(OnMemberError::Next, [&primary, &legacy]);
        let request = ReadRequest { timeout: Duration::from_secs(4), ..ReadRequest::new("key").unwrap() };
        let began = tokio::time::Instant::now();
        assert_eq!(chain.async_read_secret(&request).await.unwrap().expose_bytes(), b"old");
        assert_eq!(began.elapsed(), Duration::from_secs(2));
    }

    #[tokio::test]
    async fn writes_go_to_the_first_and_deletes_to_all() {
        let (primary, legacy) = (Fake::new("primary"), Fake::new("legacy"));
        let chain = chain(OnMemberError::Fail, [&primary, &legacy]);
        legacy.put("key", "old");
        chain.async_write_secret(&WriteRequest::new("key", "new").unwrap()).await.unwrap();
        assert_eq!((primary.get("key"), legacy.get("key")), (Some("new".into()), Some("old".into())));
        let delete = DeleteRequest::new("key").unwrap();
        chain.async_delete_secret(&delete).await.unwrap();
        assert_eq!(read(&chain).await, Err(ErrorKind::NotFound));
        let again = chain.async_delete_secret(&delete).await;
        assert_eq!(again.unwrap_err().kind(), ErrorKind::NotFound);
    }

    #[tokio::test]
    async fn what_would_come_back_from_a_member_that_cannot_delete_is_not_deleted() {
        let (primary, legacy) = (Fake::new("primary"), Fake::new("legacy"));
        legacy.fail_changes(Some(ErrorKind::Unsupported));
        primary.put("key", "new");
        legacy.put("key", "old");
        let chain = chain(OnMemberError::Fail, [&primary, &legacy]);
        let delete = DeleteRequest::new("key").unwrap();
        let error = chain.async_delete_secret(&delete).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert!(error.message().contains("legacy"), "{error}");
        assert_eq!(read(&chain).await.unwrap(), "new");
        legacy.take("key");
        chain.async_delete_secret(&delete).await.unwrap();
        assert_eq!(read(&chain).await, Err(ErrorKind::NotFound));
    }

    #[tokio::test]
    async fn a_rotation_to_another_name_is_refused_where_the_old_one_would_stay() {
        struct NeverDeletes;
        #[async_trait]
        impl SecretManager for NeverDeletes {
            async fn async_write_secret(&self, _: &WriteRequest) -> Result<WriteReceipt> {
                panic!("nothing may be written before it is known that the old name can be deleted")
            }
            fn capabilities(&self) -> Capabilities {
                Capabilities::READ | Capabilities::WRITE
            }
        }
        let timeout = Duration::from_secs(5);
        let member = Member { name: "only".to_owned(), manager: Arc::new(NeverDeletes), timeout };
        let rotate = || {
            let rotate = RotateRequest::in_place("a", "new").unwrap();
            RotateRequest { new_name: SecretName::new("b").unwrap(), ..rotate }
        };
        let chain = Chain::new(vec![member.clone()], OnMemberError::Fail);
        let error = chain.async_rotate_secret(rotate()).await.unwrap_err();
        let said = "delete operations are not implemented by only, so it did not rotate a to b";
        assert_eq!((error.kind(), error.message()), (ErrorKind::Unsupported, said));
        let replicas = super::super::Replicas::new(vec![member]);
        let error = replicas.async_rotate_secret(rotate()).await.unwrap_err();
        assert!(error.message().contains("so it did not rotate a to b"), "{error}");
    }

    #[tokio::test]
    async fn a_rotation_whose_old_name_cannot_be_deleted_says_what_was_done() {
        let (primary, legacy) = (Fake::new("primary"), Fake::new("legacy"));
        primary.put("a", "old");
        legacy.put("a", "older");
        legacy.fail_changes(Some(ErrorKind::Denied));
        let chain = chain(OnMemberError::Fail, [&primary, &legacy]);
        let rotate = RotateRequest::in_place("a", "new").unwrap();
        let rotate = RotateRequest { new_name: SecretName::new("b").unwrap(), ..rotate };
        let error = chain.async_rotate_secret(rotate).await.unwrap_err();
        let said = "b holds the new value, but a could not be deleted; delete it by itself";
        assert_eq!((error.kind(), error.message()), (ErrorKind::Denied, said));
        assert_eq!((primary.get("b").as_deref(), primary.get("a").as_deref()), (Some("new"), Some("old")));
    }

    #[tokio::test]
    async fn a_list_has_the_names_of_all_members_or_is_an_error() {
        let (primary, legacy) = (Fake::new("primary"), Fake::new("legacy"));
        primary.put("a", "x");
        legacy.put("a", "x");
        legacy.put("b", "x");
        let chain = chain(OnMemberError::Next, [&primary, &legacy]);
        assert_eq!(chain.async_list_secrets(&ListRequest::default()).await.unwrap(), ["a", "b"]);
        legacy.fail(Some(ErrorKind::Unavailable));
        assert!(chain.async_list_secrets(&ListRequest::default()).await.is_err());
    }
}
