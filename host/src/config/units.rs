//! Durations, sizes and numbers in the spellings that configuration files use.

use std::{fmt, marker::PhantomData, time::Duration};

use serde::{
    Deserialize, Deserializer,
    de::{self, SeqAccess, Visitor, value::SeqAccessDeserializer},
};

/// A duration: a number of seconds, or a number with a unit such as `250ms`, `5s`, `10m`, `1h`, `1d`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Span(pub(super) Duration);

/// A size: a number of bytes, or a number with a unit such as `512KiB`, `10MiB`, `10MB`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Size(pub(super) u64);

/// A number of zero or more that may be spelled as text, as environment variables do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Number(pub(super) f64);

/// One value, or a list of them.
#[derive(Debug)]
pub(super) struct OneOrMany<T>(pub(super) Vec<T>);

impl Number {
    /// The number as a count.
    pub(super) fn whole(self) -> Option<u64> {
        let fits = self.0.fract() == 0.0 && self.0 <= 9_007_199_254_740_992.0;
        fits.then_some(self.0 as u64)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const UNITS: [(&str, f64); 6] =
            [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0), ("d", 86400.0), ("", 1.0)];
        let what = "a duration such as `5s`, `250ms`, `1h`, or a number of seconds";
        let seconds = deserializer.deserialize_any(Quantity { units: &UNITS, what })?;
        Duration::try_from_secs_f64(seconds)
            .map(Span)
            .map_err(|_| de::Error::custom(format!("the number is too large for {what}")))
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const UNITS: [(&str, f64); 8] = [
            ("KiB", 1024.0),
            ("MiB", 1_048_576.0),
            ("GiB", 1_073_741_824.0),
            ("KB", 1e3),
            ("MB", 1e6),
            ("GB", 1e9),
            ("B", 1.0),
            ("", 1.0),
        ];
        let what = "a size such as `10MiB`, or a number of bytes";
        let bytes = Number(deserializer.deserialize_any(Quantity { units: &UNITS, what })?);
        bytes.whole().map(Size).ok_or_else(|| de::Error::custom(format!("expected {what}, in whole bytes")))
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_any(Quantity { units: &[("", 1.0)], what: "a number of zero or more" })
            .map(Number)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Either<T> {
            type Value = Vec<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text or a list of texts")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Vec<T>, E> {
                T::deserialize(de::value::StrDeserializer::new(text)).map(|one| vec![one])
            }

            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Vec<T>, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(items))
            }
        }

        deserializer.deserialize_any(Either(PhantomData)).map(OneOrMany)
    }
}

struct Quantity {
    units: &'static [(&'static str, f64)],
    what: &'static str,
}

impl Visitor<'_> for Quantity {
    type Value = f64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<f64, E> {
        self.visit_f64(value as f64)
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<f64, E> {
        match u64::try_from(value) {
            Ok(value) => self.visit_u64(value),
            Err(_) => Err(E::invalid_value(de::Unexpected::Signed(value), &self)),
        }
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<f64, E> {
        if value.is_finite() && value >= 0.0 {
            return Ok(value);
        }
        Err(E::invalid_value(de::Unexpected::Float(value), &self))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<f64, E> {
        let text = text.trim();
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let factor = self.units.iter().find(|(name, _)| *name == unit.trim()).map(|(_, factor)| factor);
        match (number.parse::<f64>(), factor) {
            (Ok(number), Some(factor)) => self.visit_f64(number * factor),
            _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from<T: for<'a> Deserialize<'a>>(yaml: &str) -> Option<T> {
        serde_yaml::from_str(yaml).ok()
    }

    #[test]
    fn durations_are_seconds_or_have_a_unit() {
        for (text, millis) in [
            ("5s", 5000),
            ("250ms", 250),
            ("300", 300_000),
            ("0.5", 500),
            ("1h", 3_600_000),
            ("10 m", 600_000),
        ] {
            assert_eq!(from::<Span>(text), Some(Span(Duration::from_millis(millis))), "{text}");
        }
        for text in ["5 parsecs", "-1", "fast", ".inf", "1e300", "''", "[5]"] {
            assert_eq!(from::<Span>(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_are_bytes_or_have_a_unit() {
        for (text, bytes) in [("10MiB", 10 << 20), ("1024", 1024), ("2 KB", 2000), ("1.5KiB", 1536)] {
            assert_eq!(from::<Size>(text), Some(Size(bytes)), "{text}");
        }
        for text in ["10 lots", "-5", "0.5"] {
            assert_eq!(from::<Size>(text), None, "{text}");
        }
    }

    #[test]
    fn numbers_may_be_text_and_know_whether_they_are_whole() {
        assert_eq!(from::<Number>("'3'").and_then(Number::whole), Some(3));
        assert_eq!(from::<Number>("2.5").and_then(Number::whole), None);
        assert_eq!(from::<Number>("three"), None);
    }

    #[test]
    fn one_value_is_a_list_of_one() {
        assert_eq!(from::<OneOrMany<String>>("a").map(|many| many.0), Some(vec!["a".to_owned()]));
        assert_eq!(from::<OneOrMany<String>>("[a, b]").map(|many| many.0.len()), Some(2));
    }
}
