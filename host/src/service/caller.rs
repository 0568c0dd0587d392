//! Who asks, and what a layer further in has to say about the answer: carried with the task.

use std::{cell::Cell, fmt, sync::Arc};

use super::cache::CacheState;

/// Who asks for a secret, as the audit log names them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Caller {
    /// The host itself, while it starts.
    Startup,
    /// A refresh in the background.
    Refresh,
    /// The repair of a replica.
    Repair,
    /// A subcommand.
    Cli,
    /// The gateway, on nobody's behalf in particular.
    Gateway,
    /// A caller of the gateway who presented the master key.
    MasterKey,
    /// The owner of a virtual key, by the key's alias.
    Key(Arc<str>),
    /// Anybody else, by a name such as that of the user behind a local connection.
    Named(Arc<str>),
    /// Nobody said who.
    #[default]
    Unknown,
}

/// What the cache said about the answer that it gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) state: CacheState,
    pub(super) generation: u64,
}

tokio::task_local! {
    static CALLER: Caller;
    static SEEN: Cell<Option<Seen>>;
}

/// Runs a future on behalf of somebody; everything it asks of a manager is logged under that name.
pub async fn with_caller<F: Future>(caller: Caller, future: F) -> F::Output {
    CALLER.scope(caller, future).await
}

/// On whose behalf the current task runs.
pub fn current_caller() -> Caller {
    CALLER.try_with(Clone::clone).unwrap_or_default()
}

/// Runs a future and returns what the cache noted meanwhile.
pub(super) async fn watching<F: Future>(future: F) -> (F::Output, Option<Seen>) {
    SEEN.scope(Cell::new(None), async {
        let output = future.await;
        (output, SEEN.with(Cell::get))
    })
    .await
}

/// Notes how the cache answered, for whoever watches.
pub(super) fn note(seen: Seen) {
    // Without a watcher there is nobody to tell.
    let _ = SEEN.try_with(|cell| cell.set(Some(seen)));
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Caller::Startup => f.write_str("startup"),
            Caller::Refresh => f.write_str("refresh"),
            Caller::Repair => f.write_str("repair"),
            Caller::Cli => f.write_str("cli"),
            Caller::Gateway => f.write_str("gateway"),
            Caller::MasterKey => f.write_str("master_key"),
            Caller::Key(alias) => write!(f, "key:{alias}"),
            Caller::Named(name) => f.write_str(name),
            Caller::Unknown => f.write_str("unknown"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_caller_is_known_inside_its_scope_only() {
        assert_eq!(current_caller(), Caller::Unknown);
        let inside = with_caller(Caller::Key("team-a".into()), async { current_caller() }).await;
        assert_eq!(inside.to_string(), "key:team-a");
        assert_eq!(current_caller(), Caller::Unknown);
    }

    #[tokio::test]
    async fn a_note_reaches_its_own_watcher_and_nobody_else() {
        let seen = Seen { state: CacheState::Stale, generation: 3 };
        let ((), noted) = watching(async { note(seen) }).await;
        assert_eq!(noted, Some(seen));
        note(seen);
        let ((), noted) = watching(async {}).await;
        assert_eq!(noted, None);
    }
}
