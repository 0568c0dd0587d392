//! Chat completions, as an application sends them.

use anyhow::{Context as _, Result, ensure};
use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use crate::scene::Scene;

/// An answer of the model.
pub(crate) struct Answer {
    pub(crate) content: String,
    pub(crate) model: String,
}

/// Sends a chat completion with the master key.
pub(crate) async fn complete(url: &str, master_key: &str) -> Result<Answer> {
    let response = request(url)?.bearer_auth(master_key).send().await.context("cannot reach the gateway")?;
    let status = response.status();
    let body = response.text().await.context("the gateway's answer ended early")?;
    ensure!(status == StatusCode::OK, "the gateway answered {status}: {body}");
    let body: Value = serde_json::from_str(&body).context("the gateway's answer is not JSON")?;
    let content = body["choices"][0]["message"]["content"].as_str();
    let content = content.context("the gateway's answer holds no message")?.to_owned();
    Ok(Answer { content, model: body["model"].as_str().unwrap_or("unknown").to_owned() })
}

/// Sends the same without a key, which must be refused.
pub(crate) async fn refused_without_key(url: &str) -> Result<()> {
    let status = request(url)?.send().await.context("cannot reach the gateway")?.status();
    ensure!(status == StatusCode::UNAUTHORIZED, "the gateway answered {status} to a caller without a key");
    Ok(())
}

/// The command that does the same in a shell.
pub(crate) fn curl(url: &str, scene: &Scene, stream: bool) -> String {
    let (flag, stream) = if stream { ("-N ", ", \"stream\": true") } else { ("", "") };
    format!(
        "   curl {flag}{url}/v1/chat/completions \\\n     \
         -H \"Authorization: Bearer {}\" -H \"Content-Type: application/json\" \\\n     \
         -d '{{\"model\": \"gpt-4\", \"messages\": [{{\"role\": \"user\", \"content\": \"Hello\"}}]{stream}}}'",
        scene.master_key_in_shell()
    )
}

fn request(url: &str) -> Result<RequestBuilder> {
    let body = json!({"model": "gpt-4", "messages": [{"role": "user", "content": "Hello"}]});
    let client = Client::builder().no_proxy().build().context("cannot make an HTTP client")?;
    Ok(client.post(format!("{url}/v1/chat/completions")).json(&body))
}
