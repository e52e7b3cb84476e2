//! All connected clients, by key.

use std::ops::{Index, IndexMut};

use slab::Slab;

use super::client::{Client, Origin};
use crate::hub::handle::Handle;

/// The clients, in a slab whose keys are the server's poll tokens. Ids count from 1 and are never reused.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    slab: Slab<Client>,
    last_id: u64,
}

impl Clients {
    /// Adds a client with a new id.
    pub(crate) fn insert(&mut self, origin: Origin, now_ms: u64, max_line: usize) -> Handle {
        self.last_id += 1;
        let id = self.last_id;
        Handle { id, key: self.slab.insert(Client::new(id, origin, now_ms, max_line)) }
    }

    pub(crate) fn remove(&mut self, key: usize) -> Client {
        self.slab.remove(key)
    }

    pub(crate) fn len(&self) -> usize {
        self.slab.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, &Client)> {
        self.slab.iter()
    }

    /// The client under this key, if there is one.
    pub(crate) fn get_mut(&mut self, key: usize) -> Option<&mut Client> {
        self.slab.get_mut(key)
    }

    /// The client with this handle, if it is still connected.
    pub(crate) fn find(&self, handle: Handle) -> Option<&Client> {
        self.slab.get(handle.key).filter(|client| client.id == handle.id)
    }

    pub(crate) fn handle(&self, key: usize) -> Handle {
        Handle { id: self.slab[key].id, key }
    }
}

impl Index<usize> for Clients {
    type Output = Client;

    fn index(&self, key: usize) -> &Client {
        &self.slab[key]
    }
}

impl IndexMut<usize> for Clients {
    fn index_mut(&mut self, key: usize) -> &mut Client {
        &mut self.slab[key]
    }
}
