//! Shows what the host said about the plugin and the references.

use anyhow::{Context as _, Result, ensure};

use crate::{gateway::Event, screen::Screen};

/// Which plugin was loaded, from where, and how it was verified.
pub(crate) fn show_plugin(screen: &Screen, events: &[Event]) -> Result<()> {
    let loaded = events
        .iter()
        .find(|event| event.message() == "secret manager loaded")
        .context("keyway serves, but said nothing about a plugin")?;
    let layout = loaded.field("layout")?;
    ensure!(layout.starts_with("verified"), "the plugin's layout is {layout}");
    screen.fact("plugin", &format!("{} {}", loaded.field("plugin")?, loaded.field("version")?));
    screen.fact("manager type", &format!("{} ({})", loaded.field("type")?, loaded.field("capabilities")?));
    screen.fact("file", &loaded.field("file")?);
    screen.fact("sha256", &loaded.field("sha256")?);
    screen.fact("trust", trust(loaded)?);
    screen.fact("layout", &layout);
    screen.fact("ABI", &loaded.field("abi")?);
    screen.fact(
        "runs from",
        &format!("{}, a copy of the bytes that were verified", loaded.field("loaded_from")?),
    );
    Ok(())
}

fn trust(loaded: &Event) -> Result<&'static str> {
    Ok(match loaded.field("pinned")?.as_str() {
        "true" => "its hash is pinned in the configuration",
        _ => "only its owner can change it (not pinned)",
    })
}

/// Which names were resolved, and from where; never a value.
pub(crate) fn show_references(screen: &Screen, events: &[Event]) -> Result<()> {
    let resolved: Vec<&Event> = events.iter().filter(|event| event.message() == "resolved").collect();
    let key = resolved
        .iter()
        .find(|event| event.field("reference").is_ok_and(|name| name.ends_with("/OPENAI_API_KEY")));
    let from = key.context("keyway did not resolve os.environ/OPENAI_API_KEY")?.field("from")?;
    ensure!(
        from.starts_with("manager "),
        "os.environ/OPENAI_API_KEY came from the {from}, not from the plugin"
    );
    for event in resolved {
        screen.fact("resolved", &format!("{} from {}", event.field("reference")?, event.field("from")?));
    }
    Ok(())
}

/// Enough of a key to recognise it, and no more.
pub(crate) fn redacted(key: &str) -> String {
    const SHOWN: usize = 4;
    match key.char_indices().nth_back(SHOWN - 1) {
        Some((start, _)) if key.len() >= 4 * SHOWN => format!("...{}", &key[start..]),
        _ => "...".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::redacted;

    #[test]
    fn a_long_key_shows_its_last_four_characters_and_a_short_one_nothing() {
        assert_eq!(redacted("example-key-of-the-plugin"), "...ugin");
        assert_eq!(redacted("short"), "...");
        assert_eq!(redacted(""), "...");
    }
}
