//! Who is here, by id and by name.

use std::collections::BTreeMap;

use crate::protocol::{Name, Recipient};

/// The clients that can be listed and sent to. Ordered maps, because `clients` goes by rising id,
/// and because a hash map would draw a random seed.
#[derive(Debug, Default)]
pub(super) struct Directory {
    keys: BTreeMap<u64, usize>,
    /// Names, in the form in which they are compared.
    holders: BTreeMap<Box<str>, u64>,
}

impl Directory {
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn enter(&mut self, id: u64, key: usize) {
        self.keys.insert(id, key);
    }

    /// Takes a client out, and frees its name.
    pub(super) fn leave(&mut self, id: u64, name: Option<&str>) {
        self.keys.remove(&id);
        self.free(name);
    }

    /// Gives a client a new name instead of its old one, unless somebody else has it.
    pub(super) fn rename(&mut self, id: u64, old: Option<&str>, new: Name<'_>) -> bool {
        let new = fold(new.as_str());
        if self.holders.get(&new).is_some_and(|&holder| holder != id) {
            return false;
        }
        self.free(old);
        self.holders.insert(new, id);
        true
    }

    pub(super) fn find(&self, client: Recipient<'_>) -> Option<usize> {
        let id = match client {
            Recipient::Id { id, .. } => id,
            Recipient::Name(name) => *self.holders.get(&fold(name.as_str()))?,
        };
        self.keys.get(&id).copied()
    }

    /// The keys of those with a higher id than `after`, by rising id.
    pub(super) fn after(&self, after: u64) -> impl Iterator<Item = usize> {
        use std::ops::Bound::{Excluded, Unbounded};
        self.keys.range((Excluded(after), Unbounded)).map(|(_, &key)| key)
    }

    fn free(&mut self, name: Option<&str>) {
        if let Some(name) = name {
            self.holders.remove(&fold(name));
        }
    }
}

/// Two names that differ in case only are the same.
fn fold(name: &str) -> Box<str> {
    name.to_ascii_lowercase().into()
}
