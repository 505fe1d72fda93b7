//! Patterns and queue groups: a trie by token.

use ahash::RandomState;
use base::{CoreId, CoreSet, Slab};
use hashbrown::{HashMap, HashTable};

use crate::compact::IdList;
use crate::grammar::tokens;
use crate::subscription::SubId;

/// Who wants what one pattern matches.
#[derive(Debug, Default)]
pub struct Leaf {
    pattern: Box<[u8]>,
    pub(crate) plain: Vec<SubId>,
    pub(crate) cores: CoreSet,
    /// Queue groups, by number.
    pub(crate) queues: Vec<u32>,
    /// Queue groups by name, once there are many.
    names: Option<Box<HashTable<u32>>>,
    /// What this core alone does with a message; see [`crate::Index::bind`].
    pub(crate) bindings: IdList,
}

/// Queue groups on one pattern from which on they are found by hash.
const QUEUES_LISTED_MAX: usize = 8;

/// A queue group of one pattern: members of this core and their number on others.
#[derive(Debug, Default)]
pub struct QueueGroup {
    pub(crate) name: Box<[u8]>,
    pub(crate) members: Vec<SubId>,
    pub(crate) remote: Vec<(CoreId, u32)>,
    /// The pattern's leaf, and the place in its list.
    pub(crate) leaf: u32,
    place: u32,
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

    /// What this core alone does with a message; see [`crate::Index::bind`].
    pub fn bindings(&self) -> &[u32] {
        self.bindings.as_slice()
    }

    /// Are there others than plain subscriptions?
    pub(crate) fn is_indirect(&self) -> bool {
        !self.queues.is_empty() || !self.bindings().is_empty()
    }

    fn is_empty(&self) -> bool {
        self.plain.is_empty() && self.cores.is_empty() && !self.is_indirect()
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
    pub(crate) groups: Slab<QueueGroup>,
    hasher: RandomState,
}

impl Trie {
    pub(crate) fn new(hasher: RandomState) -> Self {
        let mut nodes = Slab::default();
        let root = nodes.insert(Node::new(NONE, &hasher));
        Self { nodes, root, leaves: Slab::default(), groups: Slab::default(), hasher }
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

    /// The queue groups of a leaf.
    pub(crate) fn groups_of(&self, leaf: &Leaf) -> impl Iterator<Item = &QueueGroup> + Clone {
        leaf.queues.iter().map(|id| self.groups.get(*id))
    }

    /// The group of a name on a leaf.
    pub(crate) fn find_group(&self, leaf: &Leaf, name: &[u8]) -> Option<u32> {
        let is_it = |id: &u32| *self.groups.get(*id).name == *name;
        match &leaf.names {
            Some(names) => names.find(self.hasher.hash_one(name), is_it).copied(),
            None => leaf.queues.iter().copied().find(|id| is_it(id)),
        }
    }

    /// The group of a name on a leaf, made if it is new.
    pub(crate) fn group(&mut self, leaf_id: u32, name: &[u8]) -> u32 {
        if let Some(found) = self.find_group(self.leaves.get(leaf_id), name) {
            return found;
        }
        let place = self.leaves.get(leaf_id).queues.len() as u32;
        let group = QueueGroup { name: name.into(), leaf: leaf_id, place, ..QueueGroup::default() };
        let id = self.groups.insert(group);
        let Self { leaves, groups, hasher, .. } = self;
        let leaf = leaves.get_mut(leaf_id);
        leaf.queues.push(id);
        let hash_of = |id: &u32| hasher.hash_one(&*groups.get(*id).name);
        match &mut leaf.names {
            Some(names) => drop(names.insert_unique(hasher.hash_one(name), id, hash_of)),
            None if leaf.queues.len() > QUEUES_LISTED_MAX => {
                let mut names = HashTable::new();
                for id in &leaf.queues {
                    names.insert_unique(hash_of(id), *id, hash_of);
                }
                leaf.names = Some(Box::new(names));
            }
            None => {}
        }
        id
    }

    /// Drops a group if nobody is in it.
    pub(crate) fn drop_group_if_empty(&mut self, id: u32) {
        let group = self.groups.get(id);
        if !group.members.is_empty() || !group.remote.is_empty() {
            return;
        }
        let group = self.groups.remove(id);
        let leaf = self.leaves.get_mut(group.leaf);
        leaf.queues.swap_remove(group.place as usize);
        if let Some(moved) = leaf.queues.get(group.place as usize) {
            self.groups.get_mut(*moved).place = group.place;
        }
        if leaf.queues.is_empty() {
            leaf.names = None;
        }
        if let Some(names) = &mut leaf.names {
            let hash = self.hasher.hash_one(&*group.name);
            let found = names.find_entry(hash, |other| *other == id);
            found.expect("a group stands under its name").remove();
        }
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
