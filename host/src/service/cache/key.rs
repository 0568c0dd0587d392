//! How an entry is found: by name, version and parameters, without an allocation on a hit.

use std::hash::{Hash, Hasher};

use equivalent::Equivalent;
use keyway_plugin_api::{OptionalParams, ReadRequest, SecretName};

/// What an entry is the answer to.
///
/// The manager's instance and its configuration are not part of it: each instance has a cache of its own, and a
/// new configuration makes a new instance.
pub(super) struct Key {
    pub(super) name: SecretName,
    pub(super) version: Option<Box<str>>,
    pub(super) params: OptionalParams,
}

/// The key of a request, borrowed.
#[derive(Clone, Copy)]
pub(super) struct Lookup<'a> {
    pub(super) name: &'a SecretName,
    pub(super) version: Option<&'a str>,
    pub(super) params: &'a OptionalParams,
}

impl Key {
    fn borrowed(&self) -> Lookup<'_> {
        Lookup { name: &self.name, version: self.version.as_deref(), params: &self.params }
    }
}

impl<'a> Lookup<'a> {
    /// The key of a read.
    pub(super) fn of(request: &'a ReadRequest) -> Self {
        let version = request.version.as_deref();
        Self { name: &request.name, version, params: &request.optional_params }
    }

    /// The key of the newest version, which writes and deletes are about.
    pub(super) fn newest(name: &'a SecretName, params: &'a OptionalParams) -> Self {
        Self { name, version: None, params }
    }

    pub(super) fn to_key(self) -> Key {
        Key { name: self.name.clone(), version: self.version.map(Box::from), params: self.params.clone() }
    }

    fn matches(self, other: Self) -> bool {
        self.name == other.name && self.version == other.version && same_params(self.params, other.params)
    }
}

/// Whether two sets of parameters are the same text; they nearly always are the same allocation.
pub(super) fn same_params(one: &OptionalParams, other: &OptionalParams) -> bool {
    let (one, other) = (one.as_json(), other.as_json());
    std::ptr::eq(one, other) || one == other
}

impl Hash for Lookup<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // The parameters are long and nearly always the same: they are compared, not hashed.
        self.name.hash(state);
        if let Some(version) = self.version {
            version.hash(state);
        }
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.borrowed().hash(state);
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.borrowed().matches(other.borrowed())
    }
}

impl Eq for Key {}

impl Equivalent<Key> for Lookup<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.matches(key.borrowed())
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher as _, RandomState};

    use super::*;

    #[test]
    fn a_lookup_hashes_as_its_key_and_every_part_tells_keys_apart() {
        let request = |name: &str, version: Option<&str>, params: &str| ReadRequest {
            version: version.map(str::to_owned),
            optional_params: OptionalParams::from_json(params),
            ..ReadRequest::new(name).unwrap()
        };
        let hasher = RandomState::new();
        let base = request("a", None, "{}");
        let key = Lookup::of(&base).to_key();
        assert_eq!(hasher.hash_one(Lookup::of(&base)), hasher.hash_one(&key));
        assert!(Lookup::of(&request("a", None, "{}")).equivalent(&key));
        for other in
            [request("b", None, "{}"), request("a", Some("1"), "{}"), request("a", None, "{\"x\":1}")]
        {
            assert!(!Lookup::of(&other).equivalent(&key));
        }
    }
}
