//! Rotation and outage under load: no caller notices either.
//!
//! The real program loads a manager that a test scripts, and serves 200 requests a second. Meanwhile every secret is rotated
//! again and again, the manager answers UNAVAILABLE or does not answer at all for a third of the time, and the provider
//! refuses keys as providers do: the old one some time after the change or at once, or the new one for a moment.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

mod load;
mod provider;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use keyway_tests::cli::Folder;
use mock_openai::{MockOpenAi, Options};
use tokio::net::TcpListener;

use crate::{
    load::Load,
    provider::{KEY_PREFIX, Manner, Provider, key},
};

const ACCOUNTS: usize = 6;
const ROUNDS: usize = 3;
const ROTATIONS: u32 = 51;
/// Longer than values live, so that every outage is met by a refresh.
const SHORTEST_OUTAGE: Duration = Duration::from_millis(1200);

/// Rotates while the manager is there, and while it is not.
struct Operator {
    provider: Arc<Provider>,
    /// What the manager does, file by file.
    script: PathBuf,
}

impl Operator {
    fn new(folder: &Folder) -> Self {
        let script = folder.path().join("script");
        fs::create_dir(&script).unwrap();
        let operator = Operator { provider: Provider::new(ACCOUNTS), script };
        (0..ACCOUNTS).for_each(|account| operator.replace(&secret(account), &key(account, 0)));
        operator
    }

    fn rotate(&self, account: usize, manner: Manner) {
        self.provider.rotate(account, manner, |key| self.replace(&secret(account), key));
    }

    /// Rotations around an outage that lasts half as long as the manager was there before.
    async fn round(&self, round: usize) -> Duration {
        let began = Instant::now();
        // A key that is refused makes the manager be asked out of turn, which happens once in 30 seconds for each: after an
        // early key there can be none that is withdrawn at once.
        let withdrawn = [2 * round, 2 * round + 1];
        let early = round.checked_sub(1).map(|before| 2 * before);
        for wave in 0..2 {
            for account in 0..ACCOUNTS {
                let is_early = wave == 1 && Some(account) == early;
                self.rotate(account, if is_early { Manner::Early } else { Manner::Overlapping });
            }
            self.all_in_use().await;
        }
        for account in withdrawn {
            self.rotate(account, Manner::AtOnce);
            self.provider.newest_in_use(account).await;
        }

        let there = began.elapsed();
        let went_down = Instant::now();
        self.replace("outage", if round.is_multiple_of(2) { "unavailable" } else { "hangs" });
        for account in withdrawn.into_iter().chain([0]) {
            tokio::time::sleep((there / 2).max(SHORTEST_OUTAGE) / 3).await;
            self.rotate(account, Manner::Overlapping);
        }
        fs::remove_file(self.script.join("outage")).unwrap();
        went_down.elapsed()
    }

    async fn all_in_use(&self) {
        for account in 0..ACCOUNTS {
            self.provider.newest_in_use(account).await;
        }
    }

    /// Gives a file another content in one step.
    fn replace(&self, file: &str, content: &str) {
        let unfinished = self.script.join(".unfinished");
        fs::write(&unfinished, content).unwrap();
        fs::rename(unfinished, self.script.join(file)).unwrap();
    }
}

fn secret(account: usize) -> String {
    format!("ACCOUNT_{account}")
}

fn config(upstream: &MockOpenAi, script: &Path) -> String {
    let (base, script) = (upstream.base(), script.display());
    let models = (0..ACCOUNTS).map(|account| {
        format!(
            "  - model_name: model-{account}\n    litellm_params: {{model: openai/gpt-4, api_key: os.environ/{}, api_base: \"{base}\"}}\n",
            secret(account)
        )
    });
    format!(
        "general_settings:
  master_key: os.environ/LITELLM_MASTER_KEY
  key_management_system: custom
  key_management_settings: {{custom_secret_manager: scripted}}
keyway:
  cache: {{ttl: 1s}}
  retry: {{breaker_cooldown: 200ms}}
  managers:
    scripted: {{plugin: keyway_tests_scripted.Scripted, config: {{directory: \"{script}\"}}, timeout: 1s}}
model_list:
{}",
        models.collect::<String>()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_fails_while_secrets_are_rotated_and_their_manager_is_down() {
    let upstream =
        mock_openai::serve(TcpListener::bind("127.0.0.1:0").await.unwrap(), Options::default()).unwrap();
    let folder = Folder::new().unwrap();
    folder.plugin("keyway-tests-scripted").unwrap();
    let operator = Operator::new(&folder);
    folder.write("config.yaml", config(&upstream, &operator.script)).unwrap();
    let provider = Arc::clone(&operator.provider);
    upstream.judge_keys(move |key| provider.judge(key));
    let arguments = ["--config", "config.yaml", "--host", "127.0.0.1", "--port", "0"];
    let serving = folder.keyway(&arguments).unwrap().serve().unwrap();

    let load = Load::start(serving.url("/v1/chat/completions"), ACCOUNTS);
    let (began, mut down) = (Instant::now(), Duration::ZERO);
    for round in 0..ROUNDS {
        down += operator.round(round).await;
    }
    let elapsed = began.elapsed();
    operator.all_in_use().await;
    let report = load.stop().await;
    serving.terminate().unwrap();
    let log = serving.wait().unwrap().stderr;

    let provider = operator.provider;
    let (rotations, refusals) = (provider.rotations(), provider.refusals());
    println!(
        "{} requests in {elapsed:.1?}, down for {down:.1?}, {rotations} rotations, {refusals} refusals",
        report.sent
    );
    assert!(report.failures.is_empty(), "{} failed: {:#?}\n{log}", report.failures.len(), report.failures);
    assert_eq!(rotations, ROTATIONS);
    assert!(down >= elapsed.mul_f64(0.33), "down for {down:?} of {elapsed:?} only");
    assert!(report.rate() >= 180.0, "{} requests in {elapsed:?}", report.sent);
    // How many others were refused depends on who was first.
    assert!(refusals >= u32::try_from(ROUNDS - 1).unwrap(), "each early key is refused once: {refusals}");
    for said in ["its last value is used", "another value of it is tried", "a secret has changed"] {
        assert!(log.contains(said), "{said}:\n{log}");
    }
    assert!(!log.contains(KEY_PREFIX), "{log}");
}
