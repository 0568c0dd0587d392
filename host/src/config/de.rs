//! Reads typed settings out of a tree, with faults that know setting, line and column.

use serde::{
    Deserialize,
    de::{
        self, DeserializeSeed, Deserializer, Expected, IntoDeserializer, Unexpected, Visitor,
        value::StrDeserializer,
    },
    forward_to_deserialize_any,
};

use super::{
    error::{Fault, Problem},
    node::{Entry, Node, Yaml},
};

/// Reads a value; the paths of faults begin at `node`.
pub(super) fn read<'a, T: Deserialize<'a>>(node: &'a Node) -> Result<T, Fault> {
    T::deserialize(node)
}

impl<'de> Deserializer<'de> for &'de Node {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.value {
            Yaml::Null => visitor.visit_unit(),
            Yaml::Bool(value) => visitor.visit_bool(*value),
            Yaml::Signed(value) => visitor.visit_i64(*value),
            Yaml::Unsigned(value) => visitor.visit_u64(*value),
            Yaml::Float(value) => visitor.visit_f64(*value),
            Yaml::Text(value) => visitor.visit_borrowed_str(value),
            Yaml::List(items) => visitor.visit_seq(Items { items: items.iter().enumerate() }),
            Yaml::Map(entries) => visitor.visit_map(Entries { entries: entries.iter(), current: None }),
        }
        .map_err(|fault| fault.or_at(self.location))
    }

    /// YAML 1.1, which LiteLLM's parser reads, has more words for a boolean than YAML 1.2.
    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.text().map(str::to_ascii_lowercase).as_deref() {
            Some("true" | "yes" | "on") => visitor.visit_bool(true),
            Some("false" | "no" | "off") => visitor.visit_bool(false),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.value {
            Yaml::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match self.text() {
            Some(text) => visitor.visit_enum(text.into_deserializer()),
            None => Err(Fault::new(
                "",
                None,
                Problem::WrongType {
                    expected: format!("one of {}", known.join(", ")),
                    found: kind(self).into(),
                },
            )),
        }
        .map_err(|fault: Fault| fault.or_at(self.location))
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier ignored_any
    }
}

/// What a value is, without what it says.
pub(super) fn kind(node: &Node) -> &'static str {
    match node.value {
        Yaml::Null => "nothing",
        Yaml::Bool(_) => "a boolean",
        Yaml::Signed(_) | Yaml::Unsigned(_) | Yaml::Float(_) => "a number",
        Yaml::Text(_) => "text",
        Yaml::List(_) => "a list",
        Yaml::Map(_) => "a mapping",
    }
}

struct Items<'de> {
    items: std::iter::Enumerate<std::slice::Iter<'de, Node>>,
}

impl<'de> de::SeqAccess<'de> for Items<'de> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        let Some((index, item)) = self.items.next() else { return Ok(None) };
        seed.deserialize(item).map(Some).map_err(|fault| fault.inside_index(index, item.location))
    }
}

struct Entries<'de> {
    entries: std::slice::Iter<'de, Entry>,
    current: Option<&'de Entry>,
}

impl<'de> de::MapAccess<'de> for Entries<'de> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        self.current = self.entries.next();
        let Some(entry) = self.current else { return Ok(None) };
        let key: StrDeserializer<'_, Fault> = entry.key.as_str().into_deserializer();
        seed.deserialize(key).map(Some).map_err(|fault| fault.or_at(entry.location))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let Some(entry) = self.current.take() else {
            return Err(de::Error::custom("a value was asked for before its key"));
        };
        seed.deserialize(&entry.value).map_err(|fault| fault.inside_key(&entry.key, entry.location))
    }
}

impl de::Error for Fault {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Fault::refused("", None, message.to_string())
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let problem =
            Problem::WrongType { expected: in_words(&expected.to_string()), found: unexpected(found).into() };
        Fault::new("", None, problem)
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let found = format!("{} that does not fit", unexpected(found));
        Fault::new("", None, Problem::WrongType { expected: in_words(&expected.to_string()), found })
    }

    fn unknown_variant(value: &str, known: &'static [&'static str]) -> Self {
        Fault::new("", None, Problem::UnknownValue { value: value.to_owned(), known: known.to_vec() })
    }

    fn unknown_field(key: &str, known: &'static [&'static str]) -> Self {
        Fault::new("", None, Problem::UnknownKey { key: key.to_owned(), known: known.to_vec() })
    }

    fn missing_field(key: &'static str) -> Self {
        Fault::new("", None, Problem::MissingKey(key))
    }
}

/// Says what serde expects in the words of a configuration file.
fn in_words(expected: &str) -> String {
    match expected {
        "a string" => "text".to_owned(),
        "a map" => "a mapping".to_owned(),
        "a sequence" => "a list".to_owned(),
        "u32" | "u64" => "a whole number of zero or more".to_owned(),
        other => other.to_owned(),
    }
}

fn unexpected(found: Unexpected<'_>) -> &'static str {
    match found {
        Unexpected::Bool(_) => "a boolean",
        Unexpected::Unsigned(_) | Unexpected::Signed(_) | Unexpected::Float(_) => "a number",
        Unexpected::Char(_) | Unexpected::Str(_) | Unexpected::Bytes(_) => "text",
        Unexpected::Unit | Unexpected::Option => "nothing",
        Unexpected::Seq => "a list",
        Unexpected::Map => "a mapping",
        _ => "something else",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn tree(text: &str) -> Node {
        Node::parse(text).unwrap_or_else(|_| panic!("does not parse: {text}"))
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        count: Option<u32>,
        names: Option<Vec<String>>,
        flag: Option<bool>,
    }

    fn fault(text: &str) -> String {
        let fault = read::<BTreeMap<String, Sample>>(&tree(text)).unwrap_err();
        format!("{} {fault}", fault.location.unwrap())
    }

    #[test]
    fn a_wrong_type_names_setting_place_and_kinds_but_not_the_value() {
        assert_eq!(
            fault("a:\n  names: [x, 73]\n"),
            "2:14 a.names[1]: expected text, found a number; put it in quotes"
        );
        assert_eq!(
            fault("a:\n  count: [1]\n"),
            "2:11 a.count: expected a whole number of zero or more, found a list"
        );
        assert_eq!(
            fault("a:\n  count: -1\n"),
            "2:10 a.count: expected a whole number of zero or more, found a number that does not fit"
        );
    }

    #[test]
    fn an_unknown_key_stands_at_the_key() {
        let text = fault("a:\n  flag: true\n  nmaes: []\n");
        assert_eq!(
            text,
            "3:3 a: unknown key `nmaes`; did you mean `names`?; known here: `count`, `names`, `flag`"
        );
    }

    #[test]
    fn booleans_of_yaml_1_1_are_booleans() {
        let tree = tree("a: {flag: yes}\nb: {flag: Off}\n");
        let read = read::<BTreeMap<String, Sample>>(&tree).unwrap();
        assert_eq!((read["a"].flag, read["b"].flag), (Some(true), Some(false)));
        assert_eq!((read["a"].count, read["a"].names.is_none()), (None, true));
    }
}
