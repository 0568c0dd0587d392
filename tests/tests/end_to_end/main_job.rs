//! A chat completion that reaches its upstream with the key out of the plugin.

use keyway_tests::cli::MASTER_KEY;
use mock_openai::Options;

use crate::support::{PLUGIN_KEY, chat, folder, keyway, quickstart_config, request, upstream};

const PUBLISHED: &str = "\
general_settings:
  master_key: os.environ/LITELLM_MASTER_KEY
  key_management_system: custom
  key_management_settings:
    custom_secret_manager: my_secret_manager.InMemorySecretManager

model_list:
  - model_name: gpt-4
    litellm_params:
      model: openai/gpt-4
      api_key: os.environ/OPENAI_API_KEY  # read from the custom secret manager
";

#[test]
fn the_quick_start_has_the_published_lines_unchanged() {
    let config = quickstart_config();
    assert!(config.starts_with(PUBLISHED), "{config}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_completion_reaches_the_upstream_with_the_key_of_the_plugin() {
    let upstream = upstream(Options { keys: vec![PLUGIN_KEY.to_owned()], ..Options::default() }).await;
    let folder = folder();
    // The manager comes first, whatever the environment says.
    let serving =
        keyway(&folder, &upstream).env("OPENAI_API_KEY", "example-of-the-environment").serve().unwrap();
    let url = serving.url("/v1/chat/completions");

    let answer = chat(&url).await;
    assert_eq!(answer.status(), 200);
    assert!(answer.text().await.unwrap().contains("Hello from the mock upstream."));
    let streamed = request(&url, MASTER_KEY, true).send().await.unwrap();
    assert!(streamed.text().await.unwrap().ends_with("data: [DONE]\n\n"));
    assert_eq!(request(&url, "sk-test-wrong-not-a-key", false).send().await.unwrap().status(), 401);

    let requests = upstream.requests();
    assert_eq!(requests.len(), 2, "the refused one must not be passed on");
    for request in requests {
        assert_eq!(request.authorization(), Some(format!("Bearer {PLUGIN_KEY}").as_str()));
    }
    serving.terminate().unwrap();
    let ran = serving.wait().unwrap();
    ran.expect(0, &["secret manager loaded", "loaded_from=\"sealed memory\"", "stopped"]).unwrap();
    assert!(!ran.stderr.contains(PLUGIN_KEY) && !ran.stderr.contains(MASTER_KEY), "{}", ran.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn both_health_routes_answer_while_it_serves() {
    let upstream = upstream(Options::default()).await;
    let folder = folder();
    let serving = keyway(&folder, &upstream).serve().unwrap();
    for route in ["/health/liveliness", "/health/readiness"] {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        assert_eq!(client.get(serving.url(route)).send().await.unwrap().status(), 200, "{route}");
    }
}
