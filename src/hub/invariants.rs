//! The hub's invariants, checked by tests and, in debug builds, by the hub itself.

use super::Hub;
use super::handle::Handle;
use super::registry::client::{InputState, Stage, find};

/// The number of turns between two checks of the whole hub, in debug builds.
const TURNS_PER_CHECK: u64 = 64;

impl Hub {
    /// Checks the whole hub. Panics if an invariant does not hold.
    pub fn check_invariants(&self) {
        self.channel.feed.check_invariants();
        for (key, _) in self.clients.iter() {
            self.check_client(key);
        }
        let count = |is: fn(InputState) -> bool| {
            self.clients.iter().filter(|(_, client)| is(client.input_state)).count()
        };
        let active = self.clients.iter().filter(|(_, client)| client.is_active()).count();
        assert_eq!(self.directory.len(), active);
        let with_deadline =
            self.clients.iter().filter(|(_, client)| client.deadline_ms().is_some());
        assert_eq!(self.deadlines.len(), with_deadline.count());
        let rate_limited = count(|state| matches!(state, InputState::RateLimited { .. }));
        assert_eq!(self.rate_limited.len(), rate_limited);
        let exists = |handle: Handle| find(&self.clients, handle).is_some();
        self.to_read.check_invariants(exists);
        self.handshakes.check_invariants(exists);
        self.flush.check_invariants(exists);
        let in_state = |handle: &Handle, state| {
            find(&self.clients, *handle).is_some_and(|client| client.input_state == state)
        };
        let runnable = self.runnable.iter().filter(|h| in_state(h, InputState::Runnable));
        assert_eq!(runnable.count(), count(|state| state == InputState::Runnable));
        let blocked = self.blocked_publishers.iter();
        let blocked = blocked.filter(|h| in_state(h, InputState::AwaitingReaders));
        assert_eq!(blocked.count(), count(|state| state == InputState::AwaitingReaders));
    }

    /// Checks one client. Panics if an invariant does not hold.
    fn check_client(&self, key: usize) {
        let head = self.head();
        let client = &self.clients[key];
        let (id, handle) = (client.id, self.clients[key].handle());
        client.outbox.check_invariants(head);
        assert!(client.outbox.size() <= self.config.limits.max_outbox);
        let oldest_needed = client.outbox.oldest_needed(head);
        assert!(
            oldest_needed.is_none_or(|needed| needed >= self.channel.feed.oldest()),
            "client {id} needs lines that the feed has dropped"
        );
        assert!(
            !client.wants_flush(head)
                || self.flush.will_flush(key, client.outbox.is_replaying(), head),
            "client {id} has pending output but is not queued"
        );
        assert!(
            !client.wants_read() || self.to_read.contains(key) || self.handshakes.contains(key),
            "client {id} is readable but not queued"
        );
        assert!(
            client.input_state != InputState::AwaitingOutbox || !self.has_reply_room(client),
            "client {id} has lines to execute and room for a reply, but is not runnable"
        );
        let is_discarding = client.input_state == InputState::Discarding;
        assert_eq!(is_discarding, matches!(client.stage, Stage::Closing { .. }));
        if let InputState::RateLimited { until_ms } = client.input_state {
            assert!(self.rate_limited.contains(handle, until_ms));
        }
        if let Some(deadline_ms) = client.deadline_ms() {
            assert!(self.deadlines.contains(handle, deadline_ms));
        }
        if client.is_active() {
            assert!(self.channel.members.contains(key));
            assert_eq!(self.directory.after(id - 1).next(), Some(key));
        }
    }

    /// In debug builds, checks the client that a public method has changed.
    pub(super) fn debug_check(&self, key: usize) {
        if cfg!(debug_assertions) {
            self.check_client(key);
        }
    }

    /// In debug builds, checks the whole hub once every [`TURNS_PER_CHECK`] turns.
    pub(super) fn debug_check_turn(&mut self) {
        self.turns += 1;
        if cfg!(debug_assertions) && self.turns.is_multiple_of(TURNS_PER_CHECK) {
            self.check_invariants();
        }
    }
}
