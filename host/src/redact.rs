//! Takes known secrets out of what a plugin says.
//!
//! Stores echo what they are sent, and libraries print what they were configured with. So every text of a plugin's is
//! searched for the values that the host knows at that moment, as they are and as they stand in JSON. A value of fewer
//! than eight bytes is not searched for: it would be found in ordinary words.

use std::{
    borrow::Cow,
    collections::{BTreeSet, HashMap, hash_map::RandomState},
    hash::BuildHasher as _,
    sync::{Arc, LazyLock, Mutex, PoisonError, Weak},
};

use keyway_plugin_api::Secret;
use zeroize::Zeroizing;

/// What stands in a value's place.
pub const REDACTED: &str = "[redacted]";

/// Values are found by their first bytes.
const HEAD: usize = 8;

/// What is looked for as long as the process lives.
static FOR_GOOD: Mutex<Vec<Arc<Secret>>> = Mutex::new(Vec::new());

static KNOWN: LazyLock<Mutex<Known>> = LazyLock::new(Mutex::default);

/// Values by hashes of what they consist of, so that nothing of a value outlives it here. Many values may begin alike, as the
/// keys of one provider do: so the first bytes say which lengths to look at, and the whole says which value it is.
#[derive(Default)]
struct Known {
    hasher: RandomState,
    lengths: HashMap<u64, BTreeSet<usize>>,
    values: HashMap<u64, HashMap<usize, Weak<Secret>>>,
    /// How many there may be before those that have gone are looked for.
    limit: usize,
    count: usize,
}

/// Looks for a value in what plugins say from now on, as long as anybody holds it.
pub fn learn(value: &Arc<Secret>) {
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner).learn(value);
}

/// Looks for a copy of a value as long as the result is held: for one that is on its way through a plugin.
#[must_use = "the value is looked for as long as this is held"]
pub fn learn_copy(value: &Secret) -> Arc<Secret> {
    let copy = Arc::new(Secret::copy_from(value.expose_bytes()));
    learn(&copy);
    copy
}

/// Looks for a value as long as the process lives: for one that a plugin is configured with, and keeps itself.
pub fn learn_for_good(value: &Secret) {
    let mut kept = FOR_GOOD.lock().unwrap_or_else(PoisonError::into_inner);
    if !kept.iter().any(|known| known.expose_bytes() == value.expose_bytes()) {
        kept.push(learn_copy(value));
    }
}

/// The text without the values that are known.
pub fn redact(text: &str) -> Cow<'_, str> {
    let known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let bytes = text.as_bytes();
    let (mut clean, mut copied, mut at) = (String::new(), 0, 0);
    while at + HEAD <= bytes.len() {
        // A value that is text begins and ends between characters; another one cannot be in a text.
        match known.at(&bytes[at..]).filter(|length| text.is_char_boundary(at + length)) {
            Some(length) if text.is_char_boundary(at) => {
                clean.push_str(&text[copied..at]);
                clean.push_str(REDACTED);
                at += length;
                copied = at;
            }
            _ => at += 1,
        }
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    clean.push_str(&text[copied..]);
    Cow::Owned(clean)
}

impl Known {
    fn learn(&mut self, value: &Arc<Secret>) {
        if self.count >= self.limit {
            self.forget();
        }
        self.add(value.expose_bytes(), value);
        if let Some(escaped) = escaped(value.expose_bytes()) {
            self.add(&escaped, value);
        }
    }

    fn add(&mut self, form: &[u8], value: &Arc<Secret>) {
        let Some(head) = form.get(..HEAD) else { return };
        self.lengths.entry(self.hasher.hash_one(head)).or_default().insert(form.len());
        let same = self.values.entry(self.hasher.hash_one(form)).or_default();
        // The address tells values apart; it is never followed.
        let is_new = same.insert(Arc::as_ptr(value).addr(), Arc::downgrade(value)).is_none();
        self.count += usize::from(is_new);
    }

    /// Drops what nobody holds any more.
    fn forget(&mut self) {
        let all = std::mem::take(&mut self.values);
        self.lengths.clear();
        self.count = 0;
        self.limit = usize::MAX;
        for value in all.into_values().flat_map(HashMap::into_values).filter_map(|value| value.upgrade()) {
            self.learn(&value);
        }
        self.limit = (2 * self.count).max(64);
    }

    /// The length of the longest value that the text begins with.
    fn at(&self, text: &[u8]) -> Option<usize> {
        let lengths = self.lengths.get(&self.hasher.hash_one(text.get(..HEAD)?))?;
        lengths
            .iter()
            .rev()
            .copied()
            .find(|length| text.get(..*length).is_some_and(|part| self.is_known(part)))
    }

    fn is_known(&self, part: &[u8]) -> bool {
        let same = self.values.get(&self.hasher.hash_one(part));
        same.is_some_and(|same| same.values().any(|value| value.strong_count() > 0))
    }
}

/// The value inside a JSON text, when that is not the value itself.
fn escaped(value: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let text = std::str::from_utf8(value).ok()?;
    let quoted = Zeroizing::new(serde_json::to_vec(text).ok()?);
    let inner = quoted.get(1..quoted.len().checked_sub(1)?)?;
    (inner != value).then(|| Zeroizing::new(inner.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(value: &str) -> Arc<Secret> {
        let value = Arc::new(Secret::from(value));
        learn(&value);
        value
    }

    #[test]
    fn a_value_is_taken_out_wherever_it_stands_and_as_long_as_it_is_held() {
        let value = known("redact-canary-one");
        assert_eq!(redact("redact-canary-one"), REDACTED);
        let text = "é redact-canary-one, redact-canary-oné and redact-canary-oneredact-canary-one";
        assert_eq!(redact(text), "é [redacted], redact-canary-oné and [redacted][redacted]");
        drop(value);
        assert_eq!(redact("redact-canary-one"), "redact-canary-one");
    }

    #[test]
    fn a_value_is_found_as_it_stands_in_json() {
        let value = known("redact\"canary\ntwo");
        let json = serde_json::json!({ "token": value.expose_str().unwrap() }).to_string();
        assert_eq!(redact(&json), r#"{"token":"[redacted]"}"#);
    }

    #[test]
    fn of_two_values_the_longer_one_is_taken_out() {
        let _short = known("redact-canary-3");
        let _long = known("redact-canary-3-and-more");
        assert_eq!(redact("x redact-canary-3-and-more y"), "x [redacted] y");
    }

    #[test]
    fn what_is_short_or_unknown_stays_and_costs_no_copy() {
        let _short = known("canary");
        assert!(matches!(redact("canary, secret, ordinary words"), Cow::Borrowed(_)));
    }

    #[test]
    fn many_values_that_begin_alike_are_told_apart() {
        let values: Vec<_> = (0..20_000).map(|index| known(&format!("sk-alike-{index:06}"))).collect();
        let text = "sk-alike-000000 sk-alike-019999 sk-alike-020000";
        assert_eq!(redact(text), "[redacted] [redacted] sk-alike-020000");
        drop(values);
        assert_eq!(redact(text), text);
    }

    #[test]
    fn values_that_have_gone_are_forgotten() {
        let mut known = Known::default();
        for index in 0..1000 {
            known.learn(&Arc::new(format!("{index}-redact-canary").into()));
        }
        assert!(known.count <= 64, "{} are kept", known.count);
    }
}
