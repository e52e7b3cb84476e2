//! The members of a channel.

/// A set of client keys, in no particular order, with constant-time insertion and removal.
///
/// **Invariant**: `keys[positions[key]] == key` for every member.
#[derive(Debug, Default)]
pub(crate) struct Members {
    keys: Vec<u32>,
    /// Each member's index in `keys`, by key. Stale for other keys.
    positions: Vec<u32>,
}

impl Members {
    /// Adds a key, unless it is a member already.
    pub(crate) fn insert(&mut self, key: usize) {
        if self.contains(key) {
            return;
        }
        if self.positions.len() <= key {
            self.positions.resize(key + 1, 0);
        }
        self.positions[key] = self.keys.len() as u32;
        self.keys.push(key as u32);
    }

    /// Removes a key, if it is a member.
    pub(crate) fn remove(&mut self, key: usize) {
        if !self.contains(key) {
            return;
        }
        let position = self.positions[key];
        self.keys.swap_remove(position as usize);
        if let Some(&moved) = self.keys.get(position as usize) {
            self.positions[moved as usize] = position;
        }
    }

    pub(crate) fn contains(&self, key: usize) -> bool {
        let position = self.positions.get(key);
        position.is_some_and(|&position| self.keys.get(position as usize) == Some(&(key as u32)))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = usize> + Clone {
        self.keys.iter().map(|&key| key as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(members: &Members) -> Vec<usize> {
        let mut keys: Vec<usize> = members.iter().collect();
        keys.sort_unstable();
        keys
    }

    #[test]
    fn members_are_inserted_once_and_removed_in_any_order() {
        let mut members = Members::default();
        for key in [3, 0, 7, 3] {
            members.insert(key);
        }
        assert_eq!(sorted(&members), [0, 3, 7]);
        members.remove(3);
        members.remove(3);
        members.remove(5);
        assert_eq!(sorted(&members), [0, 7]);
        assert!(members.contains(7) && !members.contains(3) && !members.contains(100));
        members.insert(3);
        members.remove(7);
        members.remove(0);
        assert_eq!(sorted(&members), [3]);
    }
}
