//! What an operator may set under `keyway.managers.<name>.config`.

use std::{collections::BTreeMap, fmt, time::Duration};

use keyway_plugin_api::{
    Error, Result,
    request::{DEFAULT_TIMEOUT, MAX_VALUE_LEN},
    schemars::JsonSchema,
    serde::{Deserialize, Deserializer, de},
};

/// The configuration of the exec secret manager.
#[derive(Deserialize, JsonSchema)]
#[serde(crate = "keyway_plugin_api::serde", deny_unknown_fields)]
#[schemars(crate = "keyway_plugin_api::schemars")]
pub struct Config {
    /// The program and its first arguments: an absolute path, or a name that is looked for in PATH. No shell is involved.
    /// A text is a program without arguments.
    #[serde(deserialize_with = "command")]
    pub command: Vec<String>,
    /// How the program is asked.
    #[serde(default)]
    pub protocol: Protocol,
    /// The longest that one run may take: seconds, or text such as `500ms`, `5s`, `1m`. The caller's own limit holds as well.
    #[serde(default = "default_timeout", deserialize_with = "span")]
    #[schemars(with = "String")]
    pub timeout: Duration,
    /// The most bytes that the program may print.
    #[serde(default = "default_max_output")]
    pub max_output: usize,
    /// The program's environment, beside PATH and HOME.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// What means that there is no such secret; anything else that goes wrong means that the store is unavailable.
    #[serde(default)]
    pub not_found: NotFound,
    /// The user name under which a secret is stored (`docker` only).
    #[serde(default = "default_username")]
    pub username: String,
    /// Whether what the program writes to standard error is logged, at debug level. Only for a program that never
    /// prints a value: nothing is cut out.
    #[serde(default)]
    pub log_stderr: bool,
}

/// How a provider program is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(crate = "keyway_plugin_api::serde", rename_all = "snake_case")]
#[schemars(crate = "keyway_plugin_api::schemars")]
pub enum Protocol {
    /// The name is the last argument, the value is standard output. Reads only.
    #[default]
    Summon,
    /// The operation (`get`, `store`, `erase`, `list`) is the last argument, everything else goes through standard input and output.
    Docker,
}

/// The failures that mean that there is no such secret.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(crate = "keyway_plugin_api::serde", deny_unknown_fields)]
#[schemars(crate = "keyway_plugin_api::schemars")]
pub struct NotFound {
    /// Exit codes that mean it.
    #[serde(default)]
    pub exit_codes: Vec<i32>,
    /// Texts that mean it, when a failing run printed one of them. Absent: those of the protocol.
    pub messages: Option<Vec<String>>,
}

impl Config {
    /// A configuration that says no more than which program, and how it is asked.
    pub fn new(command: impl IntoIterator<Item = impl Into<String>>, protocol: Protocol) -> Self {
        Config {
            command: command.into_iter().map(Into::into).collect(),
            protocol,
            timeout: default_timeout(),
            max_output: default_max_output(),
            env: BTreeMap::new(),
            not_found: NotFound::default(),
            username: default_username(),
            log_stderr: false,
        }
    }

    pub(crate) fn check(&self) -> Result<()> {
        let refuse =
            |setting: &str, why: &str| Err(Error::invalid_config(format!("config.{setting}: {why}")));
        let program = self.command.first().map_or("", String::as_str);
        if program.is_empty() {
            return refuse("command", "is empty; give the program and its first arguments as a list");
        }
        if program.contains('/') && !program.starts_with('/') {
            return refuse(
                "command",
                "the program is a relative path; write the whole path, or a name in PATH",
            );
        }
        if self.command.iter().any(|argument| argument.contains('\0')) {
            return refuse("command", "an argument cannot hold a NUL character");
        }
        if self.timeout < Duration::from_millis(1) {
            return refuse("timeout", "no program ends in less than 1ms; give a time such as `5s`");
        }
        if !(1..=MAX_OUTPUT).contains(&self.max_output) {
            return refuse("max_output", "give a number of bytes from 1 to 33554432");
        }
        if self
            .env
            .iter()
            .any(|(name, value)| name.is_empty() || name.contains(['=', '\0']) || value.contains('\0'))
        {
            return refuse("env", "a name is empty or holds `=`, or a name or value holds a NUL character");
        }
        if self.not_found.exit_codes.iter().any(|code| !(1..=255).contains(code)) {
            return refuse(
                "not_found.exit_codes",
                "give codes from 1 to 255: 0 is success, and there are no others",
            );
        }
        if self.not_found.messages.iter().flatten().any(|message| message.trim().is_empty()) {
            return refuse(
                "not_found.messages",
                "an empty text is in every message, so any outage would be taken for an absent secret",
            );
        }
        Ok(())
    }
}

/// Enough for the largest value as JSON.
const MAX_OUTPUT: usize = 2 * MAX_VALUE_LEN;

fn default_timeout() -> Duration {
    DEFAULT_TIMEOUT
}

fn default_max_output() -> usize {
    1 << 20
}

fn default_username() -> String {
    "keyway".to_owned()
}

fn command<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct Command;

    impl<'de> de::Visitor<'de> for Command {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list such as `[/usr/local/bin/provider, --quiet]`, or the path of a program")
        }

        fn visit_str<E: de::Error>(self, program: &str) -> Result<Vec<String>, E> {
            // Not quoted: an argument may be a secret.
            match program.contains(char::is_whitespace) {
                true => Err(E::custom(
                    "a text is a program alone; write arguments as a list: `[/usr/local/bin/provider, --quiet]`",
                )),
                false => Ok(vec![program.to_owned()]),
            }
        }

        fn visit_seq<A: de::SeqAccess<'de>>(self, list: A) -> Result<Vec<String>, A::Error> {
            Vec::deserialize(de::value::SeqAccessDeserializer::new(list))
        }
    }

    deserializer.deserialize_any(Command)
}

fn span<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    struct Span;

    impl de::Visitor<'_> for Span {
        type Value = Duration;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a duration such as `5s`, `500ms`, `1m`, or a number of seconds")
        }

        fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<Duration, E> {
            Ok(Duration::from_secs(seconds))
        }

        fn visit_f64<E: de::Error>(self, seconds: f64) -> Result<Duration, E> {
            Duration::try_from_secs_f64(seconds)
                .map_err(|_| E::invalid_value(de::Unexpected::Float(seconds), &self))
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
            let text = text.trim();
            let (number, unit) =
                text.split_at(text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len()));
            let factor = match unit {
                "ms" => Some(0.001),
                "s" | "" => Some(1.0),
                "m" => Some(60.0),
                _ => None,
            };
            let seconds =
                number.trim().parse::<f64>().ok().zip(factor).map(|(number, factor)| number * factor);
            seconds
                .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
                .ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
        }
    }

    deserializer.deserialize_any(Span)
}

impl fmt::Debug for Config {
    /// Without the arguments and the values of the environment, either of which may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("program", &self.command.first())
            .field("protocol", &self.protocol)
            .field("timeout", &self.timeout)
            .field("env", &self.env.keys())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<Config, serde_json::Error> {
        serde_json::from_str(json)
    }

    #[test]
    fn a_timeout_is_seconds_or_has_a_unit() {
        for (text, millis) in
            [("5", 5000), ("0.5", 500), ("\"250ms\"", 250), ("\"2 s\"", 2000), ("\"1m\"", 60_000)]
        {
            let config = parse(&format!(r#"{{"command": ["a"], "timeout": {text}}}"#)).unwrap();
            assert_eq!(config.timeout, Duration::from_millis(millis), "{text}");
        }
        for text in ["\"soon\"", "-1", "\"-1s\"", "\"\"", "\"1h\""] {
            assert!(parse(&format!(r#"{{"command": ["a"], "timeout": {text}}}"#)).is_err(), "{text}");
        }
    }

    #[test]
    fn a_command_is_a_list_or_a_program_alone() {
        let command = |json: &str| parse(&format!(r#"{{"command": {json}}}"#)).map(|config| config.command);
        assert_eq!(command(r#"["/a b", "-c"]"#).unwrap(), ["/a b", "-c"]);
        assert_eq!(command(r#""/a""#).unwrap(), ["/a"]);
        let error = command(r#""/a --token canary""#).unwrap_err().to_string();
        assert!(error.contains("write arguments as a list") && !error.contains("canary"), "{error}");
        for wrong in ["{}", "5", "null", "[5]"] {
            assert!(command(wrong).is_err(), "{wrong}");
        }
        assert!(command("5").unwrap_err().to_string().contains("expected a list such as"));
    }

    #[test]
    fn what_cannot_work_is_refused_with_its_setting() {
        let refused = |more: &str| {
            let config = parse(&format!(r#"{{"command": ["a"] {more}}}"#)).unwrap();
            config.check().unwrap_err().message().to_owned()
        };
        for code in [0, -1, 256] {
            let error = refused(&format!(r#", "not_found": {{"exit_codes": [44, {code}]}}"#));
            assert!(error.starts_with("config.not_found.exit_codes: give codes from 1 to 255"), "{error}");
        }
        assert!(refused(r#", "not_found": {"messages": [" "]}"#).starts_with("config.not_found.messages"));
        assert!(refused(r#", "max_output": 0"#).starts_with("config.max_output"));
        assert!(refused(r#", "timeout": 0"#).starts_with("config.timeout"));
        assert!(refused(r#", "env": {"A=B": "c"}"#).starts_with("config.env"));
        for command in ["[]", "[\"\"]", "[\"./a\"]", "[\"a\", \"\\u0000\"]"] {
            let config = parse(&format!(r#"{{"command": {command}}}"#)).unwrap();
            assert!(config.check().unwrap_err().message().starts_with("config.command"), "{command}");
        }
    }

    #[test]
    fn debug_shows_no_argument_and_no_value() {
        let config = parse(r#"{"command": ["a", "canary"], "env": {"TOKEN": "canary"}}"#).unwrap();
        assert!(!format!("{config:?}").contains("canary"));
    }
}
