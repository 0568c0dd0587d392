//! Where each setting of a file stands, for whoever finds fault with one after the file was proven.

use std::{collections::HashMap, path::Path, sync::Arc};

use super::{
    location::{Location, Place, join_index, join_key},
    node::{Node, Yaml},
};

/// The place of each setting of a file. No value is kept.
#[derive(Clone, Debug)]
pub struct Places {
    file: Arc<Path>,
    known: HashMap<String, Location>,
}

impl Places {
    pub(super) fn new(root: &Node, file: &Arc<Path>) -> Self {
        let mut known = HashMap::new();
        visit(root, "", &mut known);
        Self { file: file.clone(), known }
    }

    /// The place of a setting; of one that the file does not spell out, the place of what it would be in.
    pub fn find(&self, setting: &str) -> Place {
        let mut around = setting;
        let location = loop {
            if let Some(location) = self.known.get(around) {
                break Some(*location);
            }
            match around.rfind(['.', '[']) {
                Some(end) => around = &around[..end],
                None => break None,
            }
        };
        Place { file: self.file.clone(), setting: setting.to_owned(), location }
    }
}

fn visit(node: &Node, setting: &str, known: &mut HashMap<String, Location>) {
    match &node.value {
        Yaml::List(items) => {
            for (index, item) in items.iter().enumerate() {
                enter(item, join_index(setting, index), None, known);
            }
        }
        Yaml::Map(entries) => {
            for entry in entries {
                enter(&entry.value, join_key(setting, &entry.key), entry.location, known);
            }
        }
        _ => {}
    }
}

fn enter(node: &Node, setting: String, key: Option<Location>, known: &mut HashMap<String, Location>) {
    visit(node, &setting, known);
    if let Some(location) = node.location.or(key) {
        known.insert(setting, location);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(yaml: &str, setting: &str) -> String {
        let tree = Node::parse(yaml).unwrap_or_else(|_| panic!("does not parse"));
        Places::new(&tree, &Path::new("c.yaml").into()).find(setting).position()
    }

    #[test]
    fn a_setting_that_is_not_there_stands_where_it_would_be() {
        let yaml = "a:\n  - b: 1\n    \"c.d\": {e: []}\n";
        assert_eq!(position(yaml, "a[0].b"), "c.yaml:2:8");
        assert_eq!(position(yaml, "a[0].\"c.d\".e"), "c.yaml:3:13");
        assert_eq!(position(yaml, "a[0].\"x.y\""), "c.yaml:2:5");
        assert_eq!(position(yaml, "z.y"), "c.yaml");
    }
}
