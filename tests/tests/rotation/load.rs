//! Callers who know nothing of rotations: so many requests a second, whatever becomes of those before.

use std::time::{Duration, Instant};

use keyway_tests::cli::MASTER_KEY;
use reqwest::Client;
use serde_json::json;
use tokio::{
    sync::oneshot,
    task::{JoinHandle, JoinSet},
};

const A_SECOND: u64 = 200;

/// Requests that are being sent.
pub(crate) struct Load {
    stop: oneshot::Sender<()>,
    sending: JoinHandle<Report>,
}

/// What became of them.
pub(crate) struct Report {
    pub(crate) sent: usize,
    /// Why which request failed.
    pub(crate) failures: Vec<String>,
    elapsed: Duration,
}

impl Load {
    /// Begins to ask for `models` models in turn, every tenth time for a stream.
    pub(crate) fn start(url: String, models: usize) -> Self {
        let (stop, mut stopped) = oneshot::channel();
        let sending = tokio::spawn(async move {
            let client = Client::builder().no_proxy().build().unwrap();
            let (began, mut requests, mut sent) = (Instant::now(), JoinSet::new(), 0);
            let mut ticks = tokio::time::interval(Duration::from_millis(1000 / A_SECOND));
            loop {
                tokio::select! {
                    _ = ticks.tick() => {}
                    _ = &mut stopped => break,
                }
                requests.spawn(request(client.clone(), url.clone(), sent % models, sent % 10 == 0));
                sent += 1;
            }
            let elapsed = began.elapsed();
            let failures = requests.join_all().await.into_iter().filter_map(Result::err).collect();
            Report { sent, failures, elapsed }
        });
        Load { stop, sending }
    }

    /// Waits for the requests that are under way.
    pub(crate) async fn stop(self) -> Report {
        self.stop.send(()).unwrap();
        self.sending.await.unwrap()
    }
}

impl Report {
    /// Requests a second.
    pub(crate) fn rate(&self) -> f64 {
        self.sent as f64 / self.elapsed.as_secs_f64()
    }
}

async fn request(client: Client, url: String, model: usize, stream: bool) -> Result<(), String> {
    let model = format!("model-{model}");
    let body = json!({"model": model, "messages": [{"role": "user", "content": "hi"}], "stream": stream});
    let failed = |error: reqwest::Error| format!("{model}: {error:?}");
    let answer = client.post(url).bearer_auth(MASTER_KEY).json(&body).send().await.map_err(failed)?;
    let status = answer.status();
    let text = answer.text().await.map_err(failed)?;
    let end = if stream { "data: [DONE]\n\n" } else { "}" };
    match status == 200 && text.ends_with(end) {
        true => Ok(()),
        false => Err(format!("{model}: {status} {text}")),
    }
}
