//! Text to [`Tree`]: the events of saphyr-parser, with limits on size and depth.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::rc::Rc;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle};

use super::diagnostic::{Failed, Place, Sources, Staged};
use super::tree::{Kind, NodeId, Style, Tag, Tree, TreeNode};

/// Largest file that is read, in bytes.
pub const MAX_FILE: u64 = 16 << 20;
/// The name that stands for standard input, as in Docker Compose.
pub const STDIN: &str = "-";
/// Deepest nesting of mappings and sequences.
pub(super) const MAX_DEPTH: usize = 256;

/// Reads a text file whole, within the limit. `-` is what standard input held.
pub(super) fn read(path: &Path, sources: &mut Sources) -> Staged<Rc<str>> {
    if path.as_os_str() == STDIN {
        let message = "standard input can be read by a command only, once: name a file";
        let text = sources.stdin.clone();
        return text.ok_or_else(|| sources.report_file(path, message));
    }
    read_within(path).map_err(|problem| sources.report_file(path, problem))
}

/// Reads a text file, or says what is wrong with it.
pub(super) fn read_within(path: &Path) -> Result<Rc<str>, String> {
    let describe = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => "no such file".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied: make it readable".to_owned(),
        _ => format!("can't be read: {error}"),
    };
    let file = File::open(path).map_err(describe)?;
    let metadata = file.metadata().map_err(describe)?;
    if metadata.is_dir() {
        return Err("is a directory, a file is needed".into());
    }
    if !metadata.is_file() {
        return Err("is no regular file".into());
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len().min(MAX_FILE)).unwrap_or(0));
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(describe)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err("is larger than 16 MiB".into());
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text.into()),
        Err(error) => {
            let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = 1 + good.iter().filter(|byte| **byte == b'\n').count();
            Err(format!("is no UTF-8 text (line {line})"))
        }
    }
}

/// Parses a file's text.
pub(super) fn parse<'a>(text: &'a str, file: u16, sources: &mut Sources) -> Staged<Tree<'a>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if let Some(at) = text.find('\0') {
        let line = 1 + text[..at].matches('\n').count();
        let place = Place { file, column: 1, line: u32::try_from(line).unwrap_or(0) };
        return Err(sources.report(place, "a NUL byte isn't allowed in YAML"));
    }
    Builder { tree: Tree::default(), file, open: Vec::new(), anchors: BTreeMap::new() }
        .run(text, sources)
}

enum Open {
    Sequence(NodeId),
    Mapping(NodeId, Option<NodeId>),
}

struct Builder<'a> {
    tree: Tree<'a>,
    file: u16,
    open: Vec<Open>,
    anchors: BTreeMap<usize, NodeId>,
}

impl<'a> Builder<'a> {
    fn run(mut self, text: &'a str, sources: &mut Sources) -> Staged<Tree<'a>> {
        let mut parser = Parser::new_from_str(text);
        while let Some(event) = parser.next_event() {
            match event {
                Ok((event, span)) => self.event(event, span.start, sources)?,
                Err(error) => {
                    let place = self.place(*error.marker());
                    return Err(sources.report(place, format!("invalid YAML: {}", error.info())));
                }
            }
        }
        Ok(self.tree)
    }

    fn place(&self, marker: Marker) -> Place {
        Place {
            file: self.file,
            column: u16::try_from(marker.col() + 1).unwrap_or(u16::MAX),
            line: u32::try_from(marker.line()).unwrap_or(u32::MAX),
        }
    }

    fn event(&mut self, event: Event<'a>, at: Marker, sources: &mut Sources) -> Staged<()> {
        let place = self.place(at);
        match event {
            Event::Alias(anchor) => {
                let Some(&target) = self.anchors.get(&anchor) else {
                    return Err(sources.report(place, "unknown anchor"));
                };
                let inside = self.open.iter().any(|open| match open {
                    Open::Sequence(id) | Open::Mapping(id, _) => *id == target,
                });
                if inside {
                    return Err(sources.report(place, "an anchor can't contain itself"));
                }
                self.leaf(TreeNode { kind: Kind::Alias(target), tag: None, place }, 0);
            }
            Event::Scalar(text, style, anchor, tag) => {
                let style = match style {
                    ScalarStyle::Plain => Style::Plain,
                    _ => Style::Quoted,
                };
                let kind = Kind::Scalar(text, style);
                self.leaf(TreeNode { kind, tag: tag.map(|t| reduce(&t)), place }, anchor);
            }
            Event::SequenceStart(anchor, tag) => {
                let tag = tag.map(|t| reduce(&t));
                let node = TreeNode { kind: Kind::Sequence(Vec::new()), tag, place };
                let id = self.begin(node, anchor, sources)?;
                self.open.push(Open::Sequence(id));
            }
            Event::MappingStart(anchor, tag) => {
                let tag = tag.map(|t| reduce(&t));
                let node = TreeNode { kind: Kind::Mapping(Vec::new()), tag, place };
                let id = self.begin(node, anchor, sources)?;
                self.open.push(Open::Mapping(id, None));
            }
            Event::SequenceEnd | Event::MappingEnd => {
                self.open.pop();
            }
            Event::DocumentStart(_) => self.anchors.clear(),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
        Ok(())
    }

    fn begin(
        &mut self,
        node: TreeNode<'a>,
        anchor: usize,
        sources: &mut Sources,
    ) -> Result<NodeId, Failed> {
        if self.open.len() >= MAX_DEPTH {
            let message = format!("nested deeper than {MAX_DEPTH} levels");
            return Err(sources.report(node.place, message));
        }
        Ok(self.leaf(node, anchor))
    }

    /// Puts a node into the innermost open collection.
    fn leaf(&mut self, node: TreeNode<'a>, anchor: usize) -> NodeId {
        let id = self.tree.push(node);
        if anchor > 0 {
            self.anchors.insert(anchor, id);
        }
        match self.open.last_mut() {
            None => self.tree.documents.push(id),
            Some(Open::Sequence(parent)) => {
                let parent = *parent as usize;
                if let Kind::Sequence(items) = &mut self.tree.nodes[parent].kind {
                    items.push(id);
                }
            }
            Some(Open::Mapping(parent, key)) => match key.take() {
                None => *key = Some(id),
                Some(key) => {
                    let parent = *parent as usize;
                    if let Kind::Mapping(entries) = &mut self.tree.nodes[parent].kind {
                        entries.push((key, id));
                    }
                }
            },
        }
        id
    }
}

fn reduce(tag: &saphyr_parser::Tag) -> Tag {
    if tag.is_yaml_core_schema() {
        return match tag.suffix.as_str() {
            "str" => Tag::Str,
            "int" => Tag::Int,
            "float" => Tag::Float,
            "bool" => Tag::Bool,
            "null" => Tag::Null,
            "binary" => Tag::Binary,
            "timestamp" => Tag::Timestamp,
            "merge" => Tag::Merge,
            _ => Tag::Other,
        };
    }
    match (tag.handle.as_str(), tag.suffix.as_str()) {
        ("!", "reset") => Tag::Reset,
        ("!", "override") => Tag::Override,
        ("", "!") | ("!", "") => Tag::Str,
        _ => Tag::Other,
    }
}
