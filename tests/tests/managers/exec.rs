//! The exec plugin, loaded as an operator loads it: its programs run on the plugin's own runtime.

use std::fs;

use keyway::{registry, service::Metrics};
use keyway_plugin_api::{DeleteRequest, ErrorKind, WriteRequest};

use crate::support::{Place, example, read};

const HELPER: &str = r#"
cd "$PASSWORD_STORE_DIR" || exit 2
case "$1" in
get) f=$(cat | tr / _); [ -f "$f" ] || { echo 'credentials not found in native keychain'; exit 1; }; cat "$f";;
store) json=$(cat); f=$(printf %s "$json" | sed 's/.*"ServerURL":"\([^"]*\)".*/\1/' | tr / _); printf %s "$json" > "$f";;
erase) f=$(cat | tr / _); rm "$f" 2>/dev/null || { echo 'credentials not found in native keychain'; exit 1; };;
*) exit 3;;
esac
"#;

const PROVIDER: &str = r#"
[ "$1" = --quiet ] || exit 2
case "$2" in
OPENAI_API_KEY) echo sk-test-not-a-key;;
gone) exit 44;;
*) echo 'the store is sealed' >&2; exit 1;;
esac
"#;

#[tokio::test(flavor = "multi_thread")]
async fn the_example_of_the_readme_works() {
    let place = Place::with_plugins(&["keyway-plugin-exec"]).unwrap();
    fs::create_dir(place.path("store")).unwrap();
    let (helper, provider) =
        (place.script("helper", HELPER).unwrap(), place.script("provider", PROVIDER).unwrap());
    let text = example("exec")
        .unwrap()
        .replace("/usr/local/bin/docker-credential-pass", helper.to_str().unwrap())
        .replace("/usr/local/lib/summon/provider", provider.to_str().unwrap())
        .replace("/etc/keyway/store", "@DIR@/store");

    let managers = registry::load(&place.parse(&text).unwrap(), &Metrics::new()).await.unwrap().unwrap();
    assert_eq!(managers.reports[0].layout.to_string(), "verified (fingerprint, abi_stable)");
    let manager = &*managers.bare;
    manager.health_check().await.unwrap();
    assert_eq!(read(manager, "litellm/alias").await, Err(ErrorKind::NotFound));
    manager.async_write_secret(&WriteRequest::new("litellm/alias", "sk-test-stored").unwrap()).await.unwrap();
    assert_eq!(read(manager, "litellm/alias").await.unwrap(), "sk-test-stored");
    let delete = DeleteRequest::new("litellm/alias").unwrap();
    manager.async_delete_secret(&delete).await.unwrap();
    assert_eq!(read(manager, "litellm/alias").await, Err(ErrorKind::NotFound));
    fs::remove_dir_all(place.path("store")).unwrap();
    assert_eq!(read(manager, "litellm/alias").await, Err(ErrorKind::Unavailable));
    managers.shutdown().await;

    let text = text.replace("custom_secret_manager: helper", "custom_secret_manager: provider");
    let managers = registry::load(&place.parse(&text).unwrap(), &Metrics::new()).await.unwrap().unwrap();
    let manager = &*managers.bare;
    assert_eq!(read(manager, "OPENAI_API_KEY").await.unwrap(), "sk-test-not-a-key");
    assert_eq!(read(manager, "gone").await, Err(ErrorKind::NotFound));
    assert_eq!(read(manager, "sealed").await, Err(ErrorKind::Unavailable));
    assert_eq!(read(manager, "--help").await, Err(ErrorKind::InvalidName));
    managers.shutdown().await;
}
