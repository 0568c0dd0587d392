//! The file plugin, loaded as an operator loads it.

use std::{fs, os::unix::fs::symlink};

use keyway::{registry, service::Metrics};
use keyway_plugin_api::{Capabilities, ErrorKind, ReadRequest, WriteRequest};

use crate::support::{Place, example, read};

#[tokio::test(flavor = "multi_thread")]
async fn the_example_of_the_readme_works() {
    let place = Place::with_plugins(&["keyway-plugin-file"]).unwrap();
    fs::create_dir(place.path("secrets")).unwrap();
    fs::write(place.path("secrets/OPENAI_API_KEY"), "sk-test-not-a-key\n").unwrap();
    fs::write(place.path("local.env"), "export OPENAI_API_KEY='sk-test-of-dotenv' # local\n").unwrap();
    let text =
        example("file").unwrap().replace("/run/secrets", "@DIR@/secrets").replace("/etc/keyway/", "@DIR@/");

    let mounted = registry::load(&place.parse(&text).unwrap(), &Metrics::new()).await.unwrap().unwrap();
    assert_eq!(mounted.reports[0].layout.to_string(), "verified (fingerprint, abi_stable)");
    assert_eq!(read(&*mounted.bare, "OPENAI_API_KEY").await.unwrap(), "sk-test-not-a-key");
    assert_eq!(read(&*mounted.bare, "../local.env").await, Err(ErrorKind::InvalidName));
    mounted.shutdown().await;

    let local = text.replace("custom_secret_manager: mounted", "custom_secret_manager: local");
    let local = registry::load(&place.parse(&local).unwrap(), &Metrics::new()).await.unwrap().unwrap();
    assert_eq!(read(&*local.bare, "OPENAI_API_KEY").await.unwrap(), "sk-test-of-dotenv");
    local.shutdown().await;
}

/// Readers run while the kubelet's swap and the plugin's own writes replace values: none ever sees half of one.
#[tokio::test(flavor = "multi_thread")]
async fn no_reader_sees_half_of_a_swap_or_of_a_write() {
    const SWAPS: usize = 25;
    let place = Place::with_plugins(&["keyway-plugin-file"]).unwrap();
    fs::create_dir(place.path("s")).unwrap();
    let swap = |index: usize| {
        let folder = format!("..{index}");
        fs::create_dir(place.path("s").join(&folder)).unwrap();
        fs::write(place.path("s").join(&folder).join("key"), index.to_string().repeat(5000)).unwrap();
        symlink(&folder, place.path("s/..tmp")).unwrap();
        fs::rename(place.path("s/..tmp"), place.path("s/..data")).unwrap();
    };
    swap(0);
    symlink("..data/key", place.path("s/key")).unwrap();
    let config = "\n    files: {plugin: keyway_file.FileSecretManager, config: {directory: @DIR@/s}}\n";
    let managers =
        registry::load(&place.config("files", config).unwrap(), &Metrics::new()).await.unwrap().unwrap();
    let manager = managers.bare.clone();
    assert!(manager.capabilities().contains(Capabilities::READ_WRITE | Capabilities::SYNC_READ));
    manager.async_write_secret(&WriteRequest::new("own", "0".repeat(5000)).unwrap()).await.unwrap();

    let reader = {
        let manager = manager.clone();
        tokio::spawn(async move {
            let (mut seen, mut versions) = (0, std::collections::HashSet::new());
            while seen < SWAPS - 1 {
                for name in ["key", "own"] {
                    let secret = manager.async_read_secret(&ReadRequest::new(name).unwrap()).await.unwrap();
                    let text = secret.expose_str().unwrap();
                    let index: usize = text[..text.len() / 5000].parse().unwrap();
                    assert_eq!(text, index.to_string().repeat(5000));
                    versions.extend(secret.metadata().version.clone());
                    seen = if name == "own" { index } else { seen };
                }
            }
            versions.len()
        })
    };
    for index in 1..SWAPS {
        swap(index);
        let request = WriteRequest::new("own", index.to_string().repeat(5000)).unwrap();
        manager.async_write_secret(&request).await.unwrap();
    }
    assert!(reader.await.unwrap() >= 2);
    managers.shutdown().await;
}
