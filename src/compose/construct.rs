//! The arena of a file to working trees: scalars resolved, aliases followed, merge keys merged,
//! `!reset` and `!override` noted.
//!
//! An alias is cheap to write and dear to expand, so what comes *out* is limited.

use std::rc::Rc;

use super::diagnostic::{Failed, Place, Sources, Staged};
use super::node::{Mapping, Node, Value};
use super::parse::MAX_DEPTH;
use super::scalar;
use super::tree::{Kind, NodeId, Style, Tag, Tree};

/// Most nodes that one load may build, over all its files.
pub(super) const MAX_NODES: usize = 1_000_000;

/// A path of keys in a document.
pub(super) type KeyPath = Vec<Rc<str>>;

/// One document, ready for the stages.
pub(super) struct Document {
    pub(super) root: Node,
    /// Where earlier files' values go away: `!reset` and `!override`.
    pub(super) resets: Vec<KeyPath>,
}

/// Builds every document of a file. `nodes` counts what the load has built so far.
pub(super) fn documents(
    tree: &Tree<'_>,
    nodes: &mut usize,
    sources: &mut Sources,
) -> Staged<Vec<Document>> {
    let mut result = Vec::with_capacity(tree.documents.len());
    for &root in &tree.documents {
        let mut builder =
            Builder { tree, nodes: &mut *nodes, sources, path: Vec::new(), resets: Vec::new() };
        let root = builder.build(root, 0)?.unwrap_or_default();
        let resets = builder.resets;
        result.push(Document { root, resets });
    }
    sources.check()?;
    Ok(result)
}

struct Builder<'t, 'a, 's> {
    tree: &'t Tree<'a>,
    nodes: &'s mut usize,
    sources: &'s mut Sources,
    path: KeyPath,
    resets: Vec<KeyPath>,
}

impl Builder<'_, '_, '_> {
    /// The value of a node; `None` where `!reset` removes it.
    fn build(&mut self, id: NodeId, depth: usize) -> Result<Option<Node>, Failed> {
        let tree = self.tree;
        let node = tree.node(id);
        *self.nodes += 1;
        if *self.nodes > MAX_NODES {
            let message = format!("expands to more than {MAX_NODES} values");
            let help = "aliases of aliases multiply: write fewer";
            return Err(self.sources.report_help(node.place, message, help));
        }
        if depth > MAX_DEPTH {
            let message =
                format!("nested deeper than {MAX_DEPTH} levels once aliases are followed");
            return Err(self.sources.report(node.place, message));
        }
        match node.tag {
            Some(Tag::Reset) => {
                self.resets.push(self.path.clone());
                return Ok(None);
            }
            Some(Tag::Override) => self.resets.push(self.path.clone()),
            _ => {}
        }
        let value = match &node.kind {
            // The place of an alias is where it is used: that line is the one to mend.
            Kind::Alias(target) => {
                let built = self.build(*target, depth + 1)?;
                return Ok(built.map(|b| Node { key: node.place, ..b }));
            }
            Kind::Scalar(text, style) => match scalar::resolve(text, *style, node.tag) {
                Ok(value) => value,
                Err(wanted) => {
                    self.sources.report(node.place, format!("the tag wants {wanted}"));
                    Value::Null
                }
            },
            Kind::Sequence(items) => Value::List(self.sequence(items, depth)?),
            Kind::Mapping(entries) => Value::Map(self.mapping(entries, depth)?),
        };
        Ok(Some(Node { value, place: node.place, key: node.place }))
    }

    fn sequence(&mut self, items: &[NodeId], depth: usize) -> Result<Vec<Node>, Failed> {
        let mut list = Vec::with_capacity(items.len());
        for (index, &item) in items.iter().enumerate() {
            self.path.push(index.to_string().into());
            let built = self.build(item, depth + 1);
            self.path.pop();
            list.extend(built?);
        }
        Ok(list)
    }

    fn mapping(&mut self, entries: &[(NodeId, NodeId)], depth: usize) -> Result<Mapping, Failed> {
        let tree = self.tree;
        let mut map = Mapping::new();
        let mut seen: std::collections::BTreeMap<Rc<str>, Place> =
            std::collections::BTreeMap::new();
        let mut merges = Vec::new();
        for &(key_id, value_id) in entries {
            let place = tree.node(key_id).place;
            let Some((key, is_merge)) = self.key(key_id) else { continue };
            if let Some(first) = seen.get(&key) {
                let line = first.line;
                self.sources.report_help(
                    place,
                    format!("duplicate key `{key}`"),
                    format!("it is already there at line {line}: keep one of the two"),
                );
                continue;
            }
            seen.insert(key.clone(), place);
            if is_merge {
                merges.push(value_id);
                continue;
            }
            self.path.push(key.clone());
            let built = self.build(value_id, depth + 1);
            self.path.pop();
            if let Some(mut node) = built? {
                node.key = place;
                map.insert(key, node);
            }
        }
        for value_id in merges {
            self.merge(value_id, &mut map, depth + 1)?;
        }
        Ok(map)
    }

    /// A key's text, and whether it is the merge key.
    fn key(&mut self, id: NodeId) -> Option<(Rc<str>, bool)> {
        let tree = self.tree;
        let mut node = tree.node(id);
        if let Kind::Alias(target) = &node.kind {
            node = tree.node(*target);
        }
        if let Kind::Scalar(text, style) = &node.kind {
            let merges = match node.tag {
                Some(Tag::Merge) => true,
                None => *style == Style::Plain && text == "<<",
                _ => false,
            };
            if merges {
                return Some(("<<".into(), true));
            }
            if let Ok(Value::Text(text)) = scalar::resolve(text, *style, node.tag) {
                return Some((text, false));
            }
        }
        self.sources.report_help(node.place, "a key must be a string", "put it in quotes");
        None
    }

    /// Adds the entries of `<<: value` that the mapping doesn't have yet.
    fn merge(&mut self, id: NodeId, into: &mut Mapping, depth: usize) -> Staged<()> {
        let tree = self.tree;
        let place = tree.node(id).place;
        let mut target = id;
        while let Kind::Alias(next) = &tree.node(target).kind {
            target = *next;
        }
        match &tree.node(target).kind {
            Kind::Mapping(_) => {
                let Some(built) = self.build(target, depth)? else { return Ok(()) };
                if let Value::Map(entries) = built.value {
                    for (key, node) in entries {
                        into.entry(key).or_insert(node);
                    }
                }
                Ok(())
            }
            Kind::Sequence(items) if depth <= MAX_DEPTH => {
                for &item in items {
                    self.merge(item, into, depth + 1)?;
                }
                Ok(())
            }
            _ => {
                let message = "a merge key takes a mapping or a list of mappings";
                self.sources.report(place, message);
                Ok(())
            }
        }
    }
}

/// Removes from `target` what a document's `!reset` and `!override` name.
pub(super) fn apply_resets(target: &mut Mapping, resets: &[KeyPath]) {
    for path in resets {
        let Some((last, parents)) = path.split_last() else { continue };
        let mut map = Some(&mut *target);
        for key in parents {
            map = map.and_then(|m| m.get_mut(key)).and_then(Node::as_map_mut);
        }
        if let Some(map) = map {
            map.remove(last);
        }
    }
}

/// The text of a top-level key, before anything else is known about the document.
pub(super) fn top_level_text(tree: &Tree<'_>, document: NodeId, key: &str) -> Option<String> {
    let Kind::Mapping(entries) = &tree.node(document).kind else { return None };
    let scalar = |id: NodeId| match &tree.node(id).kind {
        Kind::Scalar(text, _) => Some(text.as_ref()),
        _ => None,
    };
    let (_, value) = entries.iter().find(|(name, _)| scalar(*name) == Some(key))?;
    scalar(*value).map(str::to_owned)
}
