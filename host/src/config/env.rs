//! The process environment: the one place that reads it.

use std::{collections::BTreeMap, ffi::OsString, fmt, sync::Arc};

use keyway_plugin_api::Secret;

use super::reference::is_reference;

/// The environment that references are looked up in.
///
/// Cheap to clone. `Debug` shows no names and no values.
#[derive(Clone)]
pub struct Env {
    base: Base,
    defaults: Arc<BTreeMap<String, Secret>>,
    /// A variable that holds a reference counts as missing.
    values_only: bool,
}

#[derive(Clone)]
enum Base {
    Process,
    Map(Arc<BTreeMap<String, Secret>>),
}

/// Why the environment has no value under a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    /// There is no such variable.
    NotSet,
    /// The variable is set to nothing, which counts as missing.
    Empty,
    /// The variable holds a reference where only a value counts.
    Reference,
}

impl Env {
    /// The environment of this process, read at each look-up.
    pub fn from_process() -> Self {
        Self { base: Base::Process, defaults: Arc::default(), values_only: false }
    }

    /// Exactly these variables, whatever the process has.
    pub fn from_vars<N: Into<String>, V: Into<Secret>>(vars: impl IntoIterator<Item = (N, V)>) -> Self {
        let vars = vars.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        Self { base: Base::Map(Arc::new(vars)), defaults: Arc::default(), values_only: false }
    }

    /// The same environment with values for variables that it does not have.
    pub fn with_defaults(self, defaults: impl IntoIterator<Item = (String, Secret)>) -> Self {
        Self { defaults: Arc::new(defaults.into_iter().collect()), ..self }
    }

    /// The same environment, in which a variable that holds a reference has no value: its text stands for a secret and
    /// is none.
    pub fn values_only(self) -> Self {
        Self { values_only: true, ..self }
    }

    /// The value of a variable, byte by byte as it is.
    ///
    /// # Errors
    /// Why there is none.
    pub fn get(&self, name: &str) -> Result<Secret, Absent> {
        let found = match &self.base {
            Base::Process => from_process(name),
            Base::Map(vars) => vars.get(name).map(copy),
        };
        match found.or_else(|| self.defaults.get(name).map(copy)) {
            None => Err(Absent::NotSet),
            Some(value) if value.is_empty() => Err(Absent::Empty),
            Some(value) if self.values_only && value.expose_str().is_ok_and(is_reference) => {
                Err(Absent::Reference)
            }
            Some(value) => Ok(value),
        }
    }
}

/// Every variable of this process, for a program that is to get them: names and values as the system has them.
pub fn variables() -> Vec<(OsString, OsString)> {
    std::env::vars_os().collect()
}

impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.base {
            Base::Process => "Env(process)",
            Base::Map(_) => "Env(map)",
        })
    }
}

impl fmt::Display for Absent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Absent::NotSet => "is not set",
            Absent::Empty => "is set to an empty value, which counts as missing",
            Absent::Reference => "holds a reference, which is no value",
        })
    }
}

#[expect(clippy::disallowed_methods, reason = "this file is the one reader of the environment")]
fn from_process(name: &str) -> Option<Secret> {
    std::env::var_os(name).map(|value| Secret::new(value.into_encoded_bytes()))
}

fn copy(secret: &Secret) -> Secret {
    Secret::copy_from(secret.expose_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_variable_wins_over_a_default_and_a_default_over_nothing() {
        let env = Env::from_vars([("A", "set")])
            .with_defaults([("A".to_owned(), "default".into()), ("B".to_owned(), "default".into())]);
        assert_eq!(env.get("A").unwrap().expose_bytes(), b"set");
        assert_eq!(env.get("B").unwrap().expose_bytes(), b"default");
        assert_eq!(env.get("C").unwrap_err(), Absent::NotSet);
    }

    #[test]
    fn an_empty_variable_counts_as_missing_and_says_so() {
        let absent = Env::from_vars([("A", "")]).get("A").unwrap_err();
        assert_eq!(absent, Absent::Empty);
        assert!(absent.to_string().contains("empty"));
    }

    #[test]
    fn the_process_environment_is_read() {
        assert!(Env::from_process().get("PATH").is_ok());
        assert_eq!(Env::from_process().get("KEYWAY_TEST_NO_SUCH_VARIABLE").unwrap_err(), Absent::NotSet);
    }

    #[test]
    fn a_variable_that_holds_a_reference_has_no_value_where_only_values_count() {
        let env = Env::from_vars([("A", "os.environ/A"), ("B", "value")]);
        assert_eq!(env.get("A").unwrap().expose_bytes(), b"os.environ/A");
        let env = env.values_only();
        assert_eq!(env.get("A").unwrap_err(), Absent::Reference);
        assert_eq!(env.get("B").unwrap().expose_bytes(), b"value");
    }

    #[test]
    fn every_variable_of_the_process_is_listed() {
        assert!(variables().iter().any(|(name, value)| name == "PATH" && !value.is_empty()));
    }

    #[test]
    fn debug_shows_no_value() {
        let env = Env::from_vars([("NAME", "canary")]);
        assert_eq!(format!("{env:?}"), "Env(map)");
    }
}
