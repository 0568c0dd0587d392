//! An operator's folder whose plugin reads its secrets from files that a test changes.

use std::{fs, path::PathBuf, time::Duration};

use keyway_tests::cli::{Folder, Keyway, MASTER_KEY, Serving};
use mock_openai::{MockOpenAi, Options};
use reqwest::{RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;

pub(crate) const SERVE: [&str; 6] = ["--config", "config.yaml", "--host", "127.0.0.1", "--port", "0"];

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(60);

/// The values that upstreams get; nothing may print them.
pub(crate) const OLD: &str = "sk-test-canary-old-not-a-key";
pub(crate) const NEW: &str = "sk-test-canary-new-not-a-key";

/// The folder of an operator, with a store in it.
pub(crate) struct Store {
    pub(crate) folder: Folder,
    base: String,
}

/// What a test's configuration says beside the usual.
#[derive(Clone, Copy)]
pub(crate) struct Settings {
    /// What the journal calls the plugin's instance.
    pub(crate) name: &'static str,
    /// How long the plugin says that values may be kept; 0 for the host's own time.
    pub(crate) ttl_ms: u64,
    /// `keyway.startup`.
    pub(crate) startup: &'static str,
    /// Name of the model and of the secret behind it.
    pub(crate) models: &'static [(&'static str, &'static str)],
}

impl Default for Settings {
    fn default() -> Self {
        Settings { name: "a", ttl_ms: 0, startup: "{}", models: &[("gpt-4", "OPENAI_API_KEY")] }
    }
}

impl Store {
    /// A folder with a plugin, a configuration and a secret `OPENAI_API_KEY`, in front of an upstream.
    pub(crate) fn new(upstream: &MockOpenAi, settings: Settings) -> Self {
        let folder = Folder::new().unwrap();
        folder.plugin("keyway-tests-folder").unwrap();
        fs::create_dir(folder.path().join("store")).unwrap();
        let store = Store { folder, base: upstream.base() };
        store.set("OPENAI_API_KEY", OLD);
        store.configure(settings);
        store
    }

    pub(crate) fn config(&self, settings: Settings) -> String {
        let Settings { name, ttl_ms, startup, models } = settings;
        let (directory, base) = (self.folder.path().join("store"), &self.base);
        let models: String = models
            .iter()
            .map(|(model, secret)| {
                format!(
                    "  - model_name: {model}\n    litellm_params: {{model: openai/{model}, api_base: {base:?}, api_key: os.environ/{secret}}}\n"
                )
            })
            .collect();
        format!(
            "\
general_settings:
  master_key: os.environ/LITELLM_MASTER_KEY
  key_management_system: custom
  key_management_settings: {{custom_secret_manager: folder}}
keyway:
  startup: {startup}
  managers:
    folder:
      plugin: keyway_tests_folder.FolderManager
      config: {{directory: {directory:?}, name: {name}, ttl_ms: {ttl_ms}}}
router_settings: {{num_retries: 0}}
model_list:
{models}"
        )
    }

    /// Replaces `config.yaml` as an editor does.
    pub(crate) fn configure(&self, settings: Settings) {
        self.replace("config.yaml", &self.config(settings));
    }

    /// Replaces a file of the folder by renaming another one.
    pub(crate) fn replace(&self, name: &str, content: &str) {
        let next = self.folder.write("next", content).unwrap();
        fs::rename(next, self.folder.path().join(name)).unwrap();
    }

    fn stored(&self, name: &str) -> PathBuf {
        self.folder.path().join("store").join(name)
    }

    pub(crate) fn set(&self, name: &str, value: &str) {
        self.replace(&format!("store/{name}"), value);
    }

    pub(crate) fn delete(&self, name: &str) {
        fs::remove_file(self.stored(name)).unwrap();
    }

    /// Lets reads of a secret fail, or the `HEALTH` check, or the next `CREATE`.
    pub(crate) fn fail(&self, name: &str, class: &str) {
        self.set(&format!("{name}.fault"), class);
    }

    pub(crate) fn work_again(&self, name: &str) {
        self.delete(&format!("{name}.fault"));
    }

    /// How often something happened in the plugin.
    pub(crate) fn happened(&self, what: &str) -> usize {
        let journal = fs::read_to_string(self.stored("journal")).unwrap_or_default();
        journal.lines().filter(|line| *line == what).count()
    }

    pub(crate) fn keyway(&self) -> Keyway {
        self.folder.keyway(&SERVE).unwrap()
    }

    pub(crate) fn serve(&self) -> Serving {
        self.keyway().serve().unwrap()
    }
}

pub(crate) async fn upstream(options: Options) -> MockOpenAi {
    mock_openai::serve(TcpListener::bind("127.0.0.1:0").await.unwrap(), options).unwrap()
}

/// An upstream that accepts one key only.
pub(crate) async fn upstream_for(key: &str) -> MockOpenAi {
    upstream(Options { keys: vec![key.to_owned()], ..Options::default() }).await
}

/// Waits until it is so.
pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(tokio::time::Instant::now() < deadline, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

pub(crate) fn request(serving: &Serving, model: &str, stream: bool) -> RequestBuilder {
    let body = json!({"model": model, "messages": [{"role": "user", "content": "hi"}], "stream": stream});
    client().post(serving.url("/v1/chat/completions")).bearer_auth(MASTER_KEY).json(&body)
}

pub(crate) async fn chat(serving: &Serving) -> Response {
    request(serving, "gpt-4", false).send().await.unwrap()
}

/// Status and type of an error.
pub(crate) async fn refusal(answer: Response) -> (u16, String, String) {
    let status = answer.status().as_u16();
    let body: Value = answer.json().await.unwrap();
    let text = |key: &str| body["error"][key].as_str().unwrap_or_default().to_owned();
    (status, text("type"), text("message"))
}

pub(crate) async fn status(serving: &Serving) -> Value {
    let answer = client().get(serving.url("/keyway/status")).bearer_auth(MASTER_KEY).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.json().await.unwrap()
}

/// What the status says of a reference.
pub(crate) async fn reference(serving: &Serving, name: &str) -> Value {
    let (status, text) = (status(serving).await, format!("os.environ/{name}"));
    let mut references = status["references"].as_array().unwrap().iter();
    references.find(|reference| reference["reference"] == *text).unwrap().clone()
}

/// Waits until a reference is in a state.
pub(crate) async fn until_state(serving: &Serving, name: &str, state: &str) {
    until(&format!("{name} is {state}"), async || reference(serving, name).await["state"] == *state).await;
}

/// Waits until so many configurations have been used.
pub(crate) async fn until_generation(serving: &Serving, number: u64) {
    until(&format!("generation {number} is used"), async || status(serving).await["generation"] == number)
        .await;
}

pub(crate) async fn post_reload(serving: &Serving) -> (StatusCode, Value) {
    let url = serving.url("/keyway/reload");
    let answer = client().post(url).bearer_auth(MASTER_KEY).send().await.unwrap();
    (answer.status(), answer.json().await.unwrap())
}
