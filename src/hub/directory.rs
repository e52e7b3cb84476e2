//! Who is here, by id and by name.

use std::collections::BTreeMap;

use crate::protocol::{Name, Recipient};

/// The clients that can be listed and sent to. Ordered maps, because `clients` goes by rising id,
/// and because a hash map would draw a random seed.
#[derive(Debug, Default)]
pub(super) struct Directory {
    ids: BTreeMap<u64, usize>,
    names: BTreeMap<Box<str>, u64>,
}

impl Directory {
    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    pub(super) fn enter(&mut self, id: u64, key: usize) {
        self.ids.insert(id, key);
    }

    /// Takes a client out, and frees its name.
    pub(super) fn leave(&mut self, id: u64, name: Option<Name<'_>>) {
        self.ids.remove(&id);
        if let Some(name) = name {
            self.names.remove(&name.folded());
        }
    }

    /// Gives a client a new name instead of its old one, unless somebody else has it.
    pub(super) fn rename(&mut self, id: u64, old: Option<Name<'_>>, new: Name<'_>) -> bool {
        let folded = new.folded();
        if self.names.get(&folded).is_some_and(|&holder| holder != id) {
            return false;
        }
        if let Some(old) = old {
            self.names.remove(&old.folded());
        }
        self.names.insert(folded, id);
        true
    }

    pub(super) fn find(&self, client: Recipient<'_>) -> Option<usize> {
        let id = match client {
            Recipient::Id { id, .. } => id,
            Recipient::Name(name) => *self.names.get(&name.folded())?,
        };
        self.ids.get(&id).copied()
    }

    /// The keys of those with a higher id than `after`, by rising id.
    pub(super) fn after(&self, after: u64) -> impl Iterator<Item = usize> {
        use std::ops::Bound::{Excluded, Unbounded};
        self.ids.range((Excluded(after), Unbounded)).map(|(_, &key)| key)
    }
}
