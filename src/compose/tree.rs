//! The YAML of one file as an arena of nodes: places, tags, scalar styles, anchors and aliases as
//! written. Nothing is expanded here, so the tree is as large as its text and drops in one go.

use std::borrow::Cow;

use super::diagnostic::Place;

/// Index of a node in its [`Tree`].
pub(super) type NodeId = u32;

/// How a scalar was written. Only plain scalars can be anything but text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Plain,
    Quoted,
}

/// An explicit tag, reduced to what Compose tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tag {
    Str,
    Int,
    Float,
    Bool,
    Null,
    Binary,
    Timestamp,
    Merge,
    /// `!reset`: remove what earlier files said.
    Reset,
    /// `!override`: replace what earlier files said instead of merging.
    Override,
    /// Any other; it changes nothing.
    Other,
}

/// What a node is.
#[derive(Debug)]
pub(super) enum Kind<'a> {
    /// A scalar, as written (escapes and folding resolved).
    Scalar(Cow<'a, str>, Style),
    /// Items in order.
    Sequence(Vec<NodeId>),
    /// Keys and values, in order, duplicates included.
    Mapping(Vec<(NodeId, NodeId)>),
    /// A reference to the anchored node.
    Alias(NodeId),
}

/// One node.
#[derive(Debug)]
pub(super) struct TreeNode<'a> {
    pub(super) kind: Kind<'a>,
    pub(super) tag: Option<Tag>,
    pub(super) place: Place,
}

/// All documents of one file.
#[derive(Debug, Default)]
pub(super) struct Tree<'a> {
    pub(super) nodes: Vec<TreeNode<'a>>,
    /// Root of each document.
    pub(super) documents: Vec<NodeId>,
}

impl<'a> Tree<'a> {
    /// The node behind an index.
    pub(super) fn node(&self, id: NodeId) -> &TreeNode<'a> {
        &self.nodes[id as usize]
    }

    pub(super) fn push(&mut self, node: TreeNode<'a>) -> NodeId {
        let id = NodeId::try_from(self.nodes.len()).unwrap_or(NodeId::MAX);
        self.nodes.push(node);
        id
    }
}
