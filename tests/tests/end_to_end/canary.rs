//! Secrets that are searched for in everything that the program prints, at TRACE and when things go wrong.

use keyway_tests::cli::{Folder, Keyway};
use mock_openai::{MockOpenAi, Options, Reply};

use crate::{
    encodings::forms,
    support::{SERVE, chat, request, upstream},
};

/// Each has a character that URLs, JSON or shells escape, and all can be sent as a header.
const STORED: &str = "canary+stored/7f\"3a";
const LITERAL: &str = "canary+literal/91\"c4";
const MASTER: &str = "sk-canary+master/5e\"b8";
const WRITTEN: &str = "canary+written/d2\"06";
const CALLER: &str = "sk-canary+caller/3b\"aa";

fn config(base: &str) -> String {
    format!(
        "\
general_settings:
  master_key: os.environ/LITELLM_MASTER_KEY
  key_management_system: custom
  key_management_settings: {{custom_secret_manager: memory, access_mode: read_and_write}}
keyway:
  managers:
    memory:
      plugin: keyway_memory.InMemorySecretManager
      config:
        secrets:
          OPENAI_API_KEY: '{STORED}'
model_list:
  - model_name: gpt-4
    litellm_params: {{model: openai/gpt-4, api_key: os.environ/OPENAI_API_KEY, api_base: '{base}'}}
  - model_name: literal
    litellm_params: {{model: openai/gpt-4, api_key: '{LITERAL}', api_base: '{base}'}}
"
    )
}

fn folder(base: &str) -> Folder {
    let folder = Folder::new().unwrap();
    folder.plugin("keyway-plugin-memory").unwrap();
    folder.write("config.yaml", config(base)).unwrap();
    folder
}

fn traced(folder: &Folder, arguments: &[&str]) -> Keyway {
    let keyway = folder.keyway(arguments).unwrap();
    keyway.env("KEYWAY_LOG", "trace,keyway=trace").env("LITELLM_MASTER_KEY", MASTER)
}

fn assert_clean(what: &str, printed: &str) {
    for secret in [STORED, LITERAL, MASTER, WRITTEN, CALLER] {
        for (form, text) in forms(secret) {
            assert!(!printed.contains(&text), "{what} prints {secret} ({form}):\n{printed}");
        }
    }
    // Part of one is one too many.
    assert!(!printed.contains("canary"), "{what} prints part of a secret:\n{printed}");
}

async fn use_it(url: &str, upstream: &MockOpenAi) {
    assert_eq!(request(url, MASTER, false).send().await.unwrap().status(), 200);
    assert_eq!(request(url, MASTER, true).send().await.unwrap().status(), 200);
    assert_eq!(request(url, CALLER, false).send().await.unwrap().status(), 401);
    assert_eq!(chat(url).await.status(), 401);
    upstream.reply_next(Reply::new(401, "{}"));
    assert_eq!(request(url, MASTER, false).send().await.unwrap().status(), 502);
    let body = format!("{{\"model\": \"gpt-4\", \"api_key\": \"{}\"", CALLER.replace('"', ""));
    let broken = request(url, MASTER, false).body(body).send().await.unwrap();
    assert_eq!(broken.status(), 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_serving_gateway_prints_no_secret_in_any_form() {
    let upstream = upstream(Options::default()).await;
    let folder = folder(&upstream.base());
    for format in ["text", "json"] {
        let keyway = traced(&folder, &SERVE).env("KEYWAY_LOG_FORMAT", format);
        let serving = keyway.serve().unwrap();
        use_it(&serving.url("/v1/chat/completions"), &upstream).await;
        serving.terminate().unwrap();
        let ran = serving.wait().unwrap();
        ran.expect(0, &["DEBUG", "answered", "an upstream refuses our credential"]).unwrap();
        assert_clean(format, &ran.stderr);
    }
    let sent = upstream.requests();
    assert!(sent.iter().any(|request| request.authorization() == Some(&format!("Bearer {STORED}"))));
}

/// Audit log, metrics, status and traces, after refused keys, a reload and one that is refused.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_gateway_tells_of_itself_holds_no_secret_in_any_form() {
    let collector = upstream(Options::default()).await;
    let upstream = upstream(Options::default()).await;
    collector.reply_always(Some(Reply::new(200, "")));
    let folder = folder(&upstream.base());
    let audited = config(&upstream.base()).replace("keyway:\n", "keyway:\n  audit: {path: audit.log}\n");
    folder.write("config.yaml", &audited).unwrap();
    let endpoint = format!("http://{}", collector.address());
    let keyway = traced(&folder, &SERVE).env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint);
    let serving = keyway.serve().unwrap();
    let chat = serving.url("/v1/chat/completions");
    use_it(&chat, &upstream).await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let reload = async || {
        client
            .post(serving.url("/keyway/reload"))
            .bearer_auth(MASTER)
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
    };
    let mut told = vec![reload().await];
    use_it(&chat, &upstream).await;
    folder.write("config.yaml", audited.replace("secrets:", "secret:")).unwrap();
    told.push(reload().await);
    assert!(told[0].contains("reloaded") && told[1].contains("refused"), "{told:?}");
    for path in ["/metrics", "/keyway/status"] {
        let answer = client.get(serving.url(path)).bearer_auth(MASTER).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        told.push(answer.text().await.unwrap());
    }
    serving.terminate().unwrap();
    let ran = serving.wait().unwrap();
    ran.expect(0, &["stopped"]).unwrap();
    told.push(ran.stderr);
    let audit = std::fs::read_to_string(folder.path().join("audit.log")).unwrap();
    assert!(audit.contains("\"event\":\"used\"") && audit.contains("OPENAI_API_KEY"), "{audit}");
    told.push(audit);
    let exports = collector.requests();
    assert!(exports.iter().any(|export| String::from_utf8_lossy(&export.body).contains("upstream_call")));
    told.extend(exports.iter().map(|export| String::from_utf8_lossy(&export.body).into_owned()));
    for text in told {
        assert_clean("what the gateway tells", &text);
    }
}

#[test]
fn no_command_prints_a_secret_that_it_was_not_asked_for() {
    let folder = folder("http://127.0.0.1:9/v1");
    let commands: [(&[&str], i32); 6] = [
        (&["config", "check", "config.yaml"], 0),
        (&["secret", "set", "NEW", "-c", "config.yaml"], 0),
        (&["secret", "rotate", "OPENAI_API_KEY", "-c", "config.yaml"], 0),
        (&["secret", "delete", "OPENAI_API_KEY", "-c", "config.yaml"], 0),
        (&["secret", "get", "NOBODY", "-c", "config.yaml"], 1),
        (&["plugin", "list", "--json"], 0),
    ];
    for (command, code) in commands {
        let ran = traced(&folder, command).input(WRITTEN).run().unwrap();
        ran.expect(code, &[]).unwrap();
        assert_clean(&command.join(" "), &ran.all());
    }
    let ran = traced(&folder, &["secret", "get", "OPENAI_API_KEY", "-c", "config.yaml"]).run().unwrap();
    assert_eq!(ran.stdout, STORED.as_bytes());
    assert_clean("standard error of secret get", &ran.stderr);
}

#[test]
fn no_error_about_a_configuration_repeats_what_could_be_a_secret() {
    let good = config("http://127.0.0.1:9/v1");
    let folder = folder("http://127.0.0.1:9/v1");
    let broken = [
        ("an unclosed quote", good.replace(&format!("'{STORED}'"), &format!("'{STORED}"))),
        ("a broken flow", good.replace(&format!("'{LITERAL}'"), &format!("[{LITERAL}"))),
        ("a list for a key", good.replace(&format!("'{LITERAL}'"), &format!("['{LITERAL}']"))),
        (
            "text for the secrets",
            good.replace("        secrets:\n          OPENAI_API_KEY:", "        secrets:"),
        ),
        ("a setting that the plugin lacks", good.replace("secrets:\n          OPENAI_API_KEY:", "token:")),
        (
            "text for the managers",
            good.replace("  managers:\n    memory:\n", "  managers: canary\n  memory:\n"),
        ),
        ("a key that resolves nowhere", good.replace("          OPENAI_API_KEY:", "          OTHER:")),
        ("a list as a secret", good.replace(&format!("'{STORED}'"), &format!("['{STORED}']"))),
    ];
    for (what, config) in broken {
        assert_ne!(config, good, "{what}");
        folder.write("config.yaml", &config).unwrap();
        for arguments in [&SERVE[..], &["config", "check", "config.yaml"]] {
            let ran = traced(&folder, arguments).run().unwrap();
            assert!(matches!(ran.code, Some(1 | 2)) && ran.stderr.contains("error: "), "{what}: {ran:#?}");
            assert_clean(what, &ran.all());
        }
    }
}
