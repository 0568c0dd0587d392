//! References to secrets: which ones a file holds, and where.

use std::{path::Path, sync::Arc};

use super::{
    error::Fault,
    location::{Place, join_index, join_key},
    node::{Node, Yaml},
    warning::Warnings,
};

/// What a reference to a named secret begins with.
pub const PREFIX: &str = "os.environ/";

/// What a reference to an OIDC token begins with.
pub const OIDC_PREFIX: &str = "oidc/";

/// The OIDC providers that LiteLLM knows; text that begins like one of these is a reference.
const OIDC_PROVIDERS: [&str; 8] =
    ["file", "env", "env_path", "azure", "circleci", "circleci_v2", "github", "google"];

/// A reference as it is written, and each place where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    text: String,
    places: Vec<Place>,
    required: bool,
}

impl Reference {
    /// A reference that stands in these places; `None` when the text is not a reference.
    pub fn new(text: impl Into<String>, places: Vec<Place>) -> Option<Self> {
        let text = text.into();
        let required = places.iter().any(|place| is_used(&place.setting));
        is_reference(&text).then_some(Self { text, places, required })
    }

    /// The reference as it is written, `os.environ/NAME` for example.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The name that a manager or the environment is asked for: the text without `os.environ/`.
    pub fn name(&self) -> &str {
        self.text.strip_prefix(PREFIX).unwrap_or(&self.text)
    }

    /// Each place where it stands, in the order of the file.
    pub fn places(&self) -> &[Place] {
        &self.places
    }

    /// Whether a setting that Keyway uses depends on it: the master key, or anything in `model_list`.
    ///
    /// LiteLLM's files hold references in sections that Keyway has no use for, a database's URL for example.
    pub fn is_required(&self) -> bool {
        self.required
    }
}

/// Whether a text of the configuration stands for a secret instead of itself.
pub fn is_reference(text: &str) -> bool {
    text.starts_with(PREFIX)
        || text
            .strip_prefix(OIDC_PREFIX)
            .and_then(|rest| rest.split_once('/'))
            .is_some_and(|(provider, _)| OIDC_PROVIDERS.contains(&provider))
}

/// Every reference of a file once, in the order of the file, apart from those that only the environment
/// answers: what configures the manager itself, and `environment_variables`.
pub(super) fn collect(
    root: &Node,
    file: &Arc<Path>,
    warnings: &mut Warnings,
) -> Result<Vec<Reference>, Fault> {
    let mut found = Vec::new();
    visit(root, "", &mut |text, setting, node| {
        if text == PREFIX {
            let why = "`os.environ/` names nothing; write the name of the secret after it";
            return Err(Fault::refused(setting, node.location, why));
        }
        if text.trim() != text || text.strip_prefix(PREFIX).is_some_and(|name| name.trim() != name) {
            let message = format!(
                "the white space at the end or the beginning of {text:?} is part of the name; remove it if it is a slip"
            );
            warnings.push(setting, node.location, message);
        }
        let place = Place { file: file.clone(), setting: setting.to_owned(), location: node.location };
        let required = is_used(setting);
        match found.iter_mut().find(|known: &&mut Reference| known.text == text) {
            Some(known) => {
                known.places.push(place);
                known.required |= required;
            }
            None => found.push(Reference { text: text.to_owned(), places: vec![place], required }),
        }
        Ok(())
    })?;
    Ok(found)
}

fn visit<'a>(
    node: &'a Node,
    setting: &str,
    found: &mut impl FnMut(&'a str, &str, &'a Node) -> Result<(), Fault>,
) -> Result<(), Fault> {
    if is_environment_only(setting) {
        return Ok(());
    }
    match &node.value {
        Yaml::Text(text) if is_reference(text) => found(text, setting, node),
        Yaml::List(items) => items
            .iter()
            .enumerate()
            .try_for_each(|(index, item)| visit(item, &join_index(setting, index), found)),
        Yaml::Map(entries) => {
            entries.iter().try_for_each(|entry| visit(&entry.value, &join_key(setting, &entry.key), found))
        }
        _ => Ok(()),
    }
}

fn is_environment_only(setting: &str) -> bool {
    matches!(
        setting,
        "keyway"
            | "environment_variables"
            | "general_settings.key_management_system"
            | "general_settings.key_management_settings"
    )
}

fn is_used(setting: &str) -> bool {
    setting == "general_settings.master_key" || setting.starts_with("model_list[")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collected(yaml: &str) -> Vec<Reference> {
        let tree = Node::parse(yaml).unwrap_or_else(|_| panic!("does not parse"));
        let file = Path::new("config.yaml").into();
        collect(&tree, &file, &mut Warnings::about(&file)).unwrap()
    }

    #[test]
    fn each_reference_is_listed_once_with_every_place() {
        let found = collected(
            "# os.environ/COMMENT\nmodel_list:\n- litellm_params: {api_key: os.environ/A}\n- litellm_params:\n    api_key: \"os.environ/A\"\n    tags: [x, os.environ/B]\n",
        );
        let texts: Vec<_> = found.iter().map(Reference::text).collect();
        assert_eq!(texts, ["os.environ/A", "os.environ/B"]);
        let places: Vec<_> = found[0].places().iter().map(ToString::to_string).collect();
        assert_eq!(
            places,
            [
                "config.yaml:3:29 (model_list[0].litellm_params.api_key)",
                "config.yaml:5:14 (model_list[1].litellm_params.api_key)"
            ]
        );
        assert_eq!(found[1].places()[0].setting, "model_list[1].litellm_params.tags[1]");
        assert!(found[1].is_required());
    }

    #[test]
    fn a_reference_in_a_section_without_use_is_not_required() {
        let found = collected("general_settings: {database_url: os.environ/DATABASE_URL}\n");
        assert!(!found[0].is_required());
    }

    #[test]
    fn what_configures_the_manager_is_never_asked_of_it() {
        let found = collected(
            "keyway: {managers: {m: {config: {t: os.environ/T}}}}\ngeneral_settings: {key_management_settings: {x: os.environ/X}}\nenvironment_variables: {A: os.environ/B}\n",
        );
        assert!(found.is_empty());
    }

    #[test]
    fn oidc_texts_are_references_and_lookalikes_are_not() {
        assert!(is_reference("oidc/file/var/run/secrets/token"));
        assert!(is_reference("oidc/google/https://audience"));
        assert!(!is_reference("oidc/"));
        assert!(!is_reference("oidc/elsewhere/x"));
        assert!(!is_reference("see os.environ/X"));
    }

    #[test]
    fn a_reference_without_a_name_is_refused_where_it_stands() {
        let tree = Node::parse("a:\n  b: os.environ/\n").unwrap_or_else(|_| panic!("does not parse"));
        let file = Path::new("c").into();
        let fault = collect(&tree, &file, &mut Warnings::about(&file)).unwrap_err();
        assert_eq!((fault.setting.as_str(), fault.location.map(|at| at.line)), ("a.b", Some(2)));
    }
}
