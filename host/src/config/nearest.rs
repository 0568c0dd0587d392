//! The nearest known name to one that is not known.

/// The candidate that a person most likely meant, when one is near enough to say so.
pub(super) fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = written.to_lowercase().replace('-', "_");
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= limit(&lower, candidate))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// About one slip in four characters is still a slip; more is another word.
fn limit(written: &str, candidate: &str) -> usize {
    ((written.chars().count().max(candidate.chars().count()) + 2) / 4).clamp(1, 5)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 3] = ["hosted_keys", "access_mode", "tags"];

    #[test]
    fn a_slip_finds_its_word_whatever_the_case_or_the_dash() {
        assert_eq!(nearest("hosted_key", KNOWN), Some("hosted_keys"));
        assert_eq!(nearest("Access-Mode", KNOWN), Some("access_mode"));
        assert_eq!(nearest("tag", KNOWN), Some("tags"));
    }

    #[test]
    fn another_word_finds_nothing() {
        assert_eq!(nearest("region", KNOWN), None);
        assert_eq!(nearest("bags_of_gold", KNOWN), None);
    }
}
