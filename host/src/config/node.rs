//! A YAML document as a tree that remembers where each value stands.
//!
//! `serde_yaml` tells the place of a value only in the text of an error. So the reader of this file takes
//! each scalar, answers with an error on purpose, reads the place from its text and goes on: one parse, by
//! the parser that everything else uses, and exact lines and columns even behind quotes, anchors and merges.

use std::{cell::RefCell, collections::HashSet, fmt};

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::{
    error::{Fault, Problem},
    location::Location,
};

/// A value and where it begins.
pub(super) struct Node {
    pub(super) location: Option<Location>,
    pub(super) value: Yaml,
}

/// A YAML value; keys are text whatever they were, and merge keys are applied.
pub(super) enum Yaml {
    Null,
    Bool(bool),
    Signed(i64),
    Unsigned(u64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key with its place, and its value.
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) location: Option<Location>,
    pub(super) value: Node,
}

/// Why a text did not become a tree.
pub(super) enum Unparsed {
    Syntax { location: Option<Location>, message: String },
    Fault(Fault),
}

impl Node {
    /// Parses the one document of a text.
    pub(super) fn parse(text: &str) -> Result<Node, Unparsed> {
        let reader = Reader::default();
        reader.deserialize(serde_yaml::Deserializer::from_str(text)).map_err(|error| {
            match reader.fault.take() {
                Some(fault) => Unparsed::Fault(fault.or_at(location_of(&error.to_string()))),
                None => Unparsed::Syntax {
                    location: error
                        .location()
                        .map(|place| Location { line: place.line(), column: place.column() }),
                    message: error.to_string(),
                },
            }
        })
    }

    /// The value under a key of a mapping, unless it is absent or null.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        let entry = self.entry(key)?;
        (!matches!(entry.value.value, Yaml::Null)).then_some(&entry.value)
    }

    /// As [`Node::get`], to change it.
    pub(super) fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        match &mut self.value {
            Yaml::Map(entries) => {
                entries.iter_mut().find(|entry| entry.key == key).map(|entry| &mut entry.value)
            }
            _ => None,
        }
    }

    /// The value below a path of keys.
    pub(super) fn at(&self, path: &[&str]) -> Option<&Node> {
        path.iter().try_fold(self, |node, key| node.get(key))
    }

    /// Where the value below a path of keys stands; a mapping stands at its first key, and what has no place of its own,
    /// as an empty list, at the key before it.
    pub(super) fn location_at(&self, path: &[&str]) -> Option<Location> {
        let Some((last, parents)) = path.split_last() else { return self.location };
        let entry = self.at(parents)?.entry(last)?;
        entry.value.location.or(entry.location)
    }

    /// The entry of a mapping under a key, also where its value is null.
    pub(super) fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    /// The entries of a mapping; none for anything else.
    pub(super) fn entries(&self) -> &[Entry] {
        match &self.value {
            Yaml::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The text of a scalar that is text.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Yaml::Text(text) => Some(text),
            _ => None,
        }
    }
}

#[derive(Default)]
struct Reader {
    scalar: RefCell<Option<Yaml>>,
    fault: RefCell<Option<Fault>>,
}

impl Reader {
    fn take_scalar<T, E: de::Error>(&self, value: Yaml) -> Result<T, E> {
        self.scalar.replace(Some(value));
        Err(E::custom("place"))
    }

    fn fail<T, E: de::Error>(&self, location: Option<Location>, problem: Problem) -> Result<T, E> {
        self.fault.replace(Some(Fault::new("", location, problem)));
        Err(E::custom("fault"))
    }

    /// Puts what `<<` names in front; keys of the mapping itself win.
    fn merge<E: de::Error>(&self, own: Vec<Entry>) -> Result<Vec<Entry>, E> {
        if !own.iter().any(|entry| entry.key == "<<") {
            return Ok(own);
        }
        let (merges, own): (Vec<_>, Vec<_>) = own.into_iter().partition(|entry| entry.key == "<<");
        let mut seen: HashSet<String> = own.iter().map(|entry| entry.key.clone()).collect();
        let mut merged = Vec::new();
        for merge in merges {
            let sources = match merge.value.value {
                Yaml::List(nodes) => nodes,
                value => vec![Node { location: merge.value.location, value }],
            };
            for source in sources {
                let Yaml::Map(entries) = source.value else {
                    let why = "`<<` merges mappings only; name an anchor of a mapping after it";
                    return self.fail(merge.location, Problem::Refused(why.to_owned()));
                };
                merged.extend(entries.into_iter().filter(|entry| seen.insert(entry.key.clone())));
            }
        }
        merged.extend(own);
        Ok(merged)
    }
}

impl<'de> DeserializeSeed<'de> for &Reader {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(self).or_else(|error| match self.scalar.take() {
            Some(value) => Ok(Node { location: location_of(&error.to_string()), value }),
            None => Err(error),
        })
    }
}

impl<'de> Visitor<'de> for &Reader {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Node, E> {
        self.take_scalar(Yaml::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Node, E> {
        self.take_scalar(Yaml::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Node, E> {
        self.take_scalar(Yaml::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Node, E> {
        self.take_scalar(Yaml::Signed(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Node, E> {
        self.take_scalar(Yaml::Unsigned(value))
    }

    fn visit_i128<E: de::Error>(self, _: i128) -> Result<Node, E> {
        self.fail(
            None,
            Problem::Refused("the number is too large; put it in quotes if it is text".to_owned()),
        )
    }

    fn visit_u128<E: de::Error>(self, _: u128) -> Result<Node, E> {
        self.visit_i128(0)
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Node, E> {
        self.take_scalar(Yaml::Float(value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Node, E> {
        self.take_scalar(Yaml::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut list: Vec<Node> = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            list.push(item);
        }
        Ok(Node { location: list.first().and_then(|item| item.location), value: Yaml::List(list) })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let mut map: Vec<Entry> = Vec::new();
        let mut seen = HashSet::new();
        while let Some(key) = entries.next_key_seed(self)? {
            let location = key.location;
            let key = match key.value {
                Yaml::Text(text) => text,
                Yaml::Null => "null".to_owned(),
                Yaml::Bool(value) => value.to_string(),
                Yaml::Signed(value) => value.to_string(),
                Yaml::Unsigned(value) => value.to_string(),
                Yaml::Float(value) => value.to_string(),
                Yaml::List(_) | Yaml::Map(_) => {
                    let why = "a key must be text, not a list or a mapping; put it in quotes";
                    return self.fail(location, Problem::Refused(why.to_owned()));
                }
            };
            if !seen.insert(key.clone()) {
                return self.fail(location, Problem::DuplicateKey(key));
            }
            let value = entries.next_value_seed(self)?;
            let value = Node { location: value.location.or(location), ..value };
            map.push(Entry { key, location, value });
        }
        let map = self.merge(map)?;
        Ok(Node { location: map.first().and_then(|entry| entry.location), value: Yaml::Map(map) })
    }

    fn visit_enum<A: de::EnumAccess<'de>>(self, _: A) -> Result<Node, A::Error> {
        self.fail(
            None,
            Problem::Refused("YAML tags such as `!name` mean nothing here; remove the tag".to_owned()),
        )
    }
}

/// Reads `... at line 3 column 5` from the end of an error's text.
fn location_of(text: &str) -> Option<Location> {
    let (_, place) = text.rsplit_once(" at line ")?;
    let (line, column) = place.split_once(" column ")?;
    Some(Location { line: line.parse().ok()?, column: column.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Node {
        match Node::parse(text) {
            Ok(node) => node,
            Err(Unparsed::Fault(fault)) => panic!("{fault}"),
            Err(Unparsed::Syntax { message, .. }) => panic!("{message}"),
        }
    }

    fn fault(text: &str) -> Fault {
        match Node::parse(text) {
            Err(Unparsed::Fault(fault)) => fault,
            _ => panic!("expected a fault"),
        }
    }

    fn place(node: &Node, path: &[&str]) -> (usize, usize) {
        let location = node.location_at(path).unwrap();
        (location.line, location.column)
    }

    #[test]
    fn scalars_know_their_place_behind_comments_quotes_and_flow() {
        let node =
            parse("# os.environ/A\na: plain # tail\nb: {c: \"quoted\", d: 'x'}\ne:\n  f: |\n    block\n");
        assert_eq!(place(&node, &["a"]), (2, 4));
        assert_eq!(place(&node, &["b", "c"]), (3, 8));
        assert_eq!(place(&node, &["b", "d"]), (3, 21));
        assert_eq!(place(&node, &["e", "f"]), (5, 6));
    }

    #[test]
    fn what_is_empty_stands_where_its_key_does() {
        let node = parse("x: 1\na: {}\nb:\n  c: []\n  d:\n");
        assert_eq!(place(&node, &["a"]), (2, 1));
        assert_eq!(place(&node, &["b", "c"]), (4, 3));
        assert!(node.location_at(&["b", "d"]).is_some());
    }

    #[test]
    fn a_merged_value_stands_where_its_anchor_does_and_own_keys_win() {
        let node = parse("base: &base {a: one, b: two}\nuse:\n  <<: *base\n  b: mine\n");
        assert_eq!(node.at(&["use", "a"]).and_then(Node::text), Some("one"));
        assert_eq!(place(&node, &["use", "a"]), (1, 17));
        assert_eq!(node.at(&["use", "b"]).and_then(Node::text), Some("mine"));
        assert!(node.at(&["use", "<<"]).is_none());
    }

    #[test]
    fn an_aliased_scalar_leaves_the_rest_readable() {
        let node = parse("a: &x value\nb: *x\nc: [*x, 3]\nd: end\n");
        assert_eq!(node.at(&["b"]).and_then(Node::text), Some("value"));
        assert_eq!(place(&node, &["d"]), (4, 4));
    }

    #[test]
    fn a_duplicate_key_is_found_at_its_second_place() {
        let fault = fault("a: 1\nb:\n  c: 1\n  c: 2\n");
        assert_eq!(fault.location, Some(Location { line: 4, column: 3 }));
        assert_eq!(fault.to_string(), "the key `c` stands twice in one mapping; remove one of them");
    }

    #[test]
    fn a_tag_is_refused_where_it_stands() {
        assert_eq!(fault("a:\n  b: !secret x\n").location, Some(Location { line: 2, column: 6 }));
    }

    #[test]
    fn broken_yaml_after_good_scalars_is_still_broken() {
        for text in ["a: [1, 2\nb: 3\n", "a: b\n c: d\n", "a: \"open\n", "a: *nobody\n", "a: b\n---\nc: d\n"]
        {
            assert!(matches!(Node::parse(text), Err(Unparsed::Syntax { .. })), "{text}");
        }
    }
}
