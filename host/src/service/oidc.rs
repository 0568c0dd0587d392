//! `oidc/` references: tokens that the platform puts into files and variables.

use std::{
    fmt, fs, io,
    io::Read as _,
    path::{Path, PathBuf},
};

use keyway_plugin_api::Secret;

use crate::config::{Env, OIDC_PREFIX, PREFIX};

/// The folders that `oidc/file/` may read from.
pub(super) const DEFAULT_DIRECTORIES: [&str; 2] = ["/var/run/secrets", "/run/secrets"];

/// A token of more bytes than this is none.
const MAX_TOKEN_LEN: u64 = 1 << 20;

/// An `oidc/` reference, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum OidcReference {
    /// The content of a file in one of the allowed folders.
    File(PathBuf),
    /// The value of a variable.
    Env(String),
    /// The content of the file that a variable names.
    EnvPath(String),
    /// A provider that is not available here.
    Other(String),
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub(super) enum OidcError {
    #[error("environment variable {name} {absent}")]
    Variable { name: String, absent: crate::config::Absent },
    /// What the variable holds is not repeated: where `env` and `env_path` are confused it is the token itself.
    #[error(
        "environment variable {name} does not hold the path of a file that is there; where it holds the token itself, \
         write oidc/env/{name}"
    )]
    NotAPath { name: String },
    #[error("the file {} cannot be read", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("the file {} is outside {}", path.display(), Folders(allowed))]
    Outside { path: PathBuf, allowed: Vec<PathBuf> },
    #[error("{} is not a regular file of at most {MAX_TOKEN_LEN} bytes", path.display())]
    NotAToken { path: PathBuf },
    #[error("the file {} is empty, which counts as missing", path.display())]
    Empty { path: PathBuf },
    #[error("the OIDC provider `{0}` is not available here")]
    Provider(String),
}

impl OidcError {
    /// What to do about it.
    pub(super) fn advice(&self) -> &'static str {
        match self {
            OidcError::Variable { .. } | OidcError::Empty { .. } => {
                "see that the platform provides the token"
            }
            OidcError::NotAPath { .. } => "set it to the path of the token's file, in UTF-8",
            OidcError::Unreadable { .. } => {
                "see that the platform provides the file and lets this process read it"
            }
            OidcError::Outside { .. } => {
                "have the platform put the token into one of these folders, or set a variable to its path and write \
                 `oidc/env_path/VARIABLE`"
            }
            OidcError::NotAToken { .. } => "name the file that holds the token and nothing else",
            OidcError::Provider(_) => {
                "have the platform put the token into a file or a variable and write `oidc/file/PATH`, `oidc/env/VARIABLE` or \
                 `oidc/env_path/VARIABLE`"
            }
        }
    }
}

impl OidcReference {
    /// Takes a reference apart; `None` when it is not an `oidc/` reference.
    pub(super) fn parse(reference: &str) -> Option<Self> {
        let bare = reference.strip_prefix(PREFIX).unwrap_or(reference);
        let (provider, rest) = bare.strip_prefix(OIDC_PREFIX)?.split_once('/')?;
        Some(match provider {
            "file" => Self::File(Path::new("/").join(rest)),
            "env" => Self::Env(rest.to_owned()),
            "env_path" => Self::EnvPath(rest.to_owned()),
            other => Self::Other(other.to_owned()),
        })
    }

    /// Reads the token, byte by byte as it is; blocks on the file system.
    pub(super) fn read(&self, env: &Env, allowed: &[PathBuf]) -> Result<Secret, OidcError> {
        match self {
            Self::File(path) => content(&inside(path, allowed)?),
            Self::Env(name) => variable(env, name),
            Self::EnvPath(name) => {
                let path = variable(env, name)?;
                let path =
                    path.expose_str().ok().map(Path::new).filter(|path| path.symlink_metadata().is_ok());
                content(path.ok_or_else(|| OidcError::NotAPath { name: name.clone() })?)
            }
            Self::Other(provider) => Err(OidcError::Provider(provider.clone())),
        }
    }
}

fn variable(env: &Env, name: &str) -> Result<Secret, OidcError> {
    env.get(name).map_err(|absent| OidcError::Variable { name: name.to_owned(), absent })
}

/// The real path of a file, once neither `..` nor a link leads out of the allowed folders.
fn inside(path: &Path, allowed: &[PathBuf]) -> Result<PathBuf, OidcError> {
    let real =
        fs::canonicalize(path).map_err(|source| OidcError::Unreadable { path: path.to_owned(), source })?;
    let mut folders = allowed.iter().filter_map(|folder| fs::canonicalize(folder).ok());
    if folders.any(|folder| real.starts_with(folder)) {
        return Ok(real);
    }
    Err(OidcError::Outside { path: path.to_owned(), allowed: allowed.to_vec() })
}

fn content(path: &Path) -> Result<Secret, OidcError> {
    let unreadable = |source| OidcError::Unreadable { path: path.to_owned(), source };
    // Asked before opening, so that a pipe without a writer does not block.
    if !fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(OidcError::NotAToken { path: path.to_owned() });
    }
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(unreadable)?;
    file.take(MAX_TOKEN_LEN + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    let secret = Secret::new(bytes);
    match u64::try_from(secret.len()) {
        Ok(0) => Err(OidcError::Empty { path: path.to_owned() }),
        Ok(len) if len <= MAX_TOKEN_LEN => Ok(secret),
        _ => Err(OidcError::NotAToken { path: path.to_owned() }),
    }
}

struct Folders<'a>(&'a [PathBuf]);

impl fmt::Display for Folders<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, folder) in self.0.iter().enumerate() {
            write!(f, "{}{}", if index > 0 { " and " } else { "" }, folder.display())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(reference: &str, env: &Env, allowed: &Path) -> Result<Vec<u8>, String> {
        let parsed = OidcReference::parse(reference).unwrap();
        let token = parsed.read(env, &[allowed.to_owned()]);
        token.map(|secret| secret.expose_bytes().to_vec()).map_err(|error| error.to_string())
    }

    fn nothing() -> Env {
        Env::from_vars::<String, String>([])
    }

    #[test]
    fn a_token_file_is_read_byte_by_byte_with_or_without_the_second_slash() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, "token\n").unwrap();
        for prefix in ["oidc/file/", "oidc/file", "os.environ/oidc/file/"] {
            let reference = format!("{prefix}{}", path.display());
            assert_eq!(read(&reference, &nothing(), folder.path()).as_deref(), Ok(&b"token\n"[..]));
        }
    }

    #[cfg(unix)]
    #[test]
    fn neither_dots_nor_links_lead_out_of_the_allowed_folder() {
        let outer = tempfile::tempdir().unwrap();
        let allowed = outer.path().join("allowed");
        fs::create_dir(&allowed).unwrap();
        let secret = outer.path().join("secret");
        fs::write(&secret, "canary").unwrap();
        std::os::unix::fs::symlink(&secret, allowed.join("link")).unwrap();
        for way in ["link", "../secret"] {
            let error =
                read(&format!("oidc/file/{}/{way}", allowed.display()), &nothing(), &allowed).unwrap_err();
            assert!(error.contains("is outside"), "{error}");
        }
    }

    #[test]
    fn a_sibling_whose_name_only_begins_alike_is_outside() {
        let outer = tempfile::tempdir().unwrap();
        let (allowed, sibling) = (outer.path().join("a"), outer.path().join("ab"));
        fs::create_dir(&allowed).unwrap();
        fs::write(&sibling, "canary").unwrap();
        assert!(read(&format!("oidc/file/{}", sibling.display()), &nothing(), &allowed).is_err());
    }

    #[test]
    fn a_folder_an_empty_file_and_a_missing_one_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("empty"), "").unwrap();
        let error = |name: &str| {
            read(&format!("oidc/file/{}/{name}", folder.path().display()), &nothing(), folder.path())
                .unwrap_err()
        };
        assert!(error("").contains("is not a regular file"));
        assert!(error("empty").contains("is empty"));
        assert!(error("missing").contains("cannot be read"));
    }

    #[test]
    fn variables_hold_a_token_or_the_path_of_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, "from a file").unwrap();
        let env = Env::from_vars([("TOKEN", "direct"), ("TOKEN_FILE", path.to_str().unwrap())]);
        let elsewhere = Path::new("/nowhere");
        assert_eq!(read("oidc/env/TOKEN", &env, elsewhere).as_deref(), Ok(&b"direct"[..]));
        assert_eq!(read("oidc/env_path/TOKEN_FILE", &env, elsewhere).as_deref(), Ok(&b"from a file"[..]));
        let confused = read("oidc/env_path/TOKEN", &env, elsewhere).unwrap_err();
        assert!(confused.contains("TOKEN does not hold the path of a file") && !confused.contains("direct"));
        assert_eq!(
            read("oidc/env/NONE", &env, elsewhere).unwrap_err(),
            "environment variable NONE is not set"
        );
    }

    #[test]
    fn a_provider_that_needs_a_platform_says_what_there_is() {
        let error = read("oidc/google/https://audience", &nothing(), Path::new("/nowhere")).unwrap_err();
        assert!(error.contains("`google` is not available here"));
        assert_eq!(OidcReference::parse("os.environ/A"), None);
    }
}
