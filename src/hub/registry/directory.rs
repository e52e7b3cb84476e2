//! The active clients, by id and by name.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};

use crate::protocol::{Name, Recipient};

/// The clients that can be listed and sent to. The maps are ordered because `clients` lists clients
/// in ascending order of ids, and because a hash map would draw a random seed.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    keys: BTreeMap<u64, u32>,
    /// The id of each name's holder. The keys are in lower case, since names are compared ignoring
    /// case.
    holders: BTreeMap<Box<str>, u64>,
}

impl Directory {
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(crate) fn insert(&mut self, id: u64, key: usize) {
        self.keys.insert(id, key as u32);
    }

    /// Removes a client and frees its name.
    pub(crate) fn remove(&mut self, id: u64, name: Option<&str>) {
        self.keys.remove(&id);
        self.free(name);
    }

    /// Renames a client from `old` to `new`. Returns false if another client has that name.
    pub(crate) fn rename(&mut self, id: u64, old: Option<&str>, new: Name<'_>) -> bool {
        let new = fold(new.as_str());
        if self.holders.get(&new).is_some_and(|&holder| holder != id) {
            return false;
        }
        self.free(old);
        self.holders.insert(new, id);
        true
    }

    /// The key of the client with this id or name.
    pub(crate) fn find(&self, client: Recipient<'_>) -> Option<usize> {
        let id = match client {
            Recipient::Id { id, .. } => id,
            Recipient::Name(name) => *self.holders.get(&fold(name.as_str()))?,
        };
        self.keys.get(&id).map(|&key| key as usize)
    }

    /// The keys of the clients with an id above `after`, in ascending order of ids.
    pub(crate) fn after(&self, after: u64) -> impl Iterator<Item = usize> {
        self.keys.range((Excluded(after), Unbounded)).map(|(_, &key)| key as usize)
    }

    fn free(&mut self, name: Option<&str>) {
        if let Some(name) = name {
            self.holders.remove(&fold(name));
        }
    }
}

fn fold(name: &str) -> Box<str> {
    name.to_ascii_lowercase().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name<'_> {
        Name::parse(text).expect("a valid name")
    }

    #[test]
    fn names_are_unique_ignoring_case_and_free_after_removal() {
        let mut directory = Directory::default();
        directory.insert(1, 10);
        directory.insert(2, 20);
        assert!(directory.rename(1, None, name("Alice")));
        assert!(!directory.rename(2, None, name("aLICE")), "client 1 has this name");
        assert!(directory.rename(1, Some("Alice"), name("ALICE")), "its own name, in another case");
        assert_eq!(directory.find(Recipient::Name(name("alice"))), Some(10));
        directory.remove(1, Some("ALICE"));
        assert_eq!(directory.find(Recipient::Name(name("alice"))), None);
        assert!(directory.rename(2, None, name("alice")));
    }

    #[test]
    fn clients_are_in_ascending_order_of_ids() {
        let mut directory = Directory::default();
        for (id, key) in [(3, 0), (1, 2), (2, 1)] {
            directory.insert(id, key);
        }
        assert_eq!(directory.after(0).collect::<Vec<_>>(), [2, 1, 0]);
        assert_eq!(directory.after(2).collect::<Vec<_>>(), [0]);
        assert_eq!(directory.after(3).count(), 0);
    }
}
