//! Patterns and queue groups: a trie by token.

use ahash::RandomState;
use base::{CoreId, CoreSet, Slab};
use hashbrown::HashMap;

use crate::grammar::tokens;
use crate::subscription::SubId;

/// Who wants what one pattern matches.
#[derive(Debug, Default)]
pub struct Leaf {
    pattern: Box<[u8]>,
    pub(crate) plain: Vec<SubId>,
    pub(crate) cores: CoreSet,
    pub(crate) queues: Vec<QueueGroup>,
}

/// A queue group of one pattern: members of this core and their number on others.
#[derive(Debug)]
pub struct QueueGroup {
    pub(crate) name: Box<[u8]>,
    pub(crate) members: Vec<SubId>,
    pub(crate) remote: Vec<(CoreId, u32)>,
}

impl Leaf {
    /// The pattern.
    pub fn pattern(&self) -> &[u8] {
        &self.pattern
    }

    /// Plain subscriptions of this core.
    pub fn plain(&self) -> &[SubId] {
        &self.plain
    }

    /// Other cores with plain subscriptions.
    pub const fn cores(&self) -> CoreSet {
        self.cores
    }

    /// Queue groups.
    pub fn queues(&self) -> &[QueueGroup] {
        &self.queues
    }

    fn is_empty(&self) -> bool {
        self.plain.is_empty() && self.cores.is_empty() && self.queues.is_empty()
    }

    /// The group of a name, made if it is new.
    pub(crate) fn queue_mut(&mut self, name: &[u8]) -> &mut QueueGroup {
        let at = self.queues.iter().position(|group| *group.name == *name).unwrap_or_else(|| {
            let group = QueueGroup { name: name.into(), members: Vec::new(), remote: Vec::new() };
            self.queues.push(group);
            self.queues.len() - 1
        });
        &mut self.queues[at]
    }

    /// Drops groups that nobody is in.
    pub(crate) fn tidy_queues(&mut self) {
        self.queues.retain(|group| !group.members.is_empty() || !group.remote.is_empty());
    }
}

impl QueueGroup {
    /// The group's name.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// Members of this core.
    pub fn members(&self) -> &[SubId] {
        &self.members
    }

    /// Members of other cores: each core with their number.
    pub fn remote(&self) -> &[(CoreId, u32)] {
        &self.remote
    }
}

/// No node, no leaf.
const NONE: u32 = u32::MAX;

#[derive(Debug)]
struct Node {
    parent: u32,
    children: HashMap<Box<[u8]>, u32, RandomState>,
    /// The child for `*`.
    any: u32,
    /// The leaf of the pattern that ends here.
    here: u32,
    /// The leaf of the pattern that goes on with `>`.
    rest: u32,
}

impl Node {
    fn new(parent: u32, hasher: &RandomState) -> Self {
        let children = HashMap::with_hasher(hasher.clone());
        Self { parent, children, any: NONE, here: NONE, rest: NONE }
    }

    fn is_bare(&self) -> bool {
        self.children.is_empty() && self.any == NONE && self.here == NONE && self.rest == NONE
    }
}

impl Default for Node {
    fn default() -> Self {
        Self::new(NONE, &RandomState::with_seeds(0, 0, 0, 0))
    }
}

/// The patterns of one index.
#[derive(Debug)]
pub(crate) struct Trie {
    nodes: Slab<Node>,
    root: u32,
    pub(crate) leaves: Slab<Leaf>,
    hasher: RandomState,
}

impl Trie {
    pub(crate) fn new(hasher: RandomState) -> Self {
        let mut nodes = Slab::default();
        let root = nodes.insert(Node::new(NONE, &hasher));
        Self { nodes, root, leaves: Slab::default(), hasher }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.leaves.is_empty()
    }

    /// The leaf of a pattern, made if it is new; says whether it was.
    pub(crate) fn insert(&mut self, pattern: &[u8]) -> (u32, bool) {
        let mut node = self.root;
        let mut open_ended = false;
        for token in tokens(pattern) {
            if token == b">" {
                open_ended = true;
                break;
            }
            node = self.child(node, token);
        }
        let here = self.nodes.get_mut(node);
        let place = if open_ended { &mut here.rest } else { &mut here.here };
        if *place != NONE {
            return (*place, false);
        }
        *place = self.leaves.insert(Leaf { pattern: pattern.into(), ..Leaf::default() });
        (*place, true)
    }

    fn child(&mut self, parent: u32, token: &[u8]) -> u32 {
        let here = self.nodes.get(parent);
        let found = if token == b"*" {
            here.any
        } else {
            here.children.get(token).copied().unwrap_or(NONE)
        };
        if found != NONE {
            return found;
        }
        let made = self.nodes.insert(Node::new(parent, &self.hasher));
        let here = self.nodes.get_mut(parent);
        if token == b"*" {
            here.any = made;
        } else {
            here.children.insert(token.into(), made);
        }
        made
    }

    /// Takes a leaf out if nobody is left on it, with the nodes that only led there; says whether
    /// it did.
    pub(crate) fn remove_if_empty(&mut self, leaf: u32) -> bool {
        if !self.leaves.get(leaf).is_empty() {
            return false;
        }
        let pattern = self.leaves.remove(leaf).pattern;
        let mut path = vec![self.root];
        let mut names: Vec<&[u8]> = Vec::new();
        for token in tokens(&pattern).take_while(|token| *token != b">") {
            let here = self.nodes.get(path[path.len() - 1]);
            let next = if token == b"*" { here.any } else { here.children[token] };
            path.push(next);
            names.push(token);
        }
        let last = self.nodes.get_mut(path[path.len() - 1]);
        let place = if last.here == leaf { &mut last.here } else { &mut last.rest };
        assert_eq!(*place, leaf, "a leaf hangs on the node of its pattern");
        *place = NONE;
        while let (Some(node), Some(token)) = (path.pop(), names.pop()) {
            if !self.nodes.get(node).is_bare() {
                break;
            }
            let parent = self.nodes.remove(node).parent;
            let above = self.nodes.get_mut(parent);
            if token == b"*" {
                above.any = NONE;
            } else {
                above.children.remove(token);
            }
        }
        true
    }

    /// Appends the leaves whose pattern matches a subject without empty tokens.
    pub(crate) fn matching(&self, subject: &[u8], found: &mut Vec<u32>) {
        self.descend(self.root, subject, found);
    }

    /// Depth is bounded by the longest pattern, and each node is entered at most once.
    fn descend(&self, node: u32, subject: &[u8], found: &mut Vec<u32>) {
        let here = self.nodes.get(node);
        if here.rest != NONE {
            found.push(here.rest);
        }
        let dot = subject.iter().position(|byte| *byte == b'.');
        let token = &subject[..dot.unwrap_or(subject.len())];
        let rest = dot.map(|dot| &subject[dot + 1..]);
        let literal = if here.children.is_empty() {
            NONE
        } else {
            here.children.get(token).copied().unwrap_or(NONE)
        };
        for child in [here.any, literal] {
            match rest {
                _ if child == NONE => {}
                Some(rest) => self.descend(child, rest, found),
                None => {
                    let leaf = self.nodes.get(child).here;
                    if leaf != NONE {
                        found.push(leaf);
                    }
                }
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn node_count(&self) -> usize {
        self.nodes.len()
    }
}
