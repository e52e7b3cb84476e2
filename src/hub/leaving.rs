//! How clients leave, each one and all of them.

use std::collections::BTreeSet;
use std::mem;

use crate::protocol::{LineBuffer, Reply};

use super::Hub;
use super::client::{Handle, Reason, Stage, Step};
use super::report::Event;

/// What is to be done to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseStep {
    /// End its output, and tell [`handle_write_shutdown`](Hub::handle_write_shutdown): everything was sent. What the peer still sends is read and dropped until its
    /// end, for a close with unread input would destroy what was sent.
    ShutdownWrite,
    /// Close it, and [`remove`](Hub::remove) the client.
    Close,
}

/// What a client was, for the log.
#[derive(Debug, PartialEq, Eq)]
pub struct Disconnect {
    /// Its id.
    pub id: u64,
    /// Its last name.
    pub name: Option<Box<str>>,
    /// Why it left.
    pub reason: Reason,
    /// It did not get all that it was owed.
    pub is_cut: bool,
    /// How many lines it was told that it misses.
    pub missed: u64,
    /// How long it was connected, in milliseconds.
    pub connected_ms: u64,
    /// Bytes read from it.
    pub bytes_in: u64,
    /// Bytes written to it.
    pub bytes_out: u64,
}

impl Hub {
    /// Ends it all: everybody gets what is owed so far and a goodbye, and nobody comes in.
    pub fn begin_shutdown(&mut self) {
        self.is_shutting_down = true;
        let staying = self.clients.iter().filter(|(_, client)| !client.is_leaving());
        let keys: Vec<usize> = staying.map(|(key, _)| key).collect();
        for key in keys {
            self.leave(key, Reason::Shutdown);
        }
    }

    /// The next connection to be finished or closed.
    pub fn poll_close(&mut self) -> Option<(usize, CloseStep)> {
        loop {
            let (handle, close) = self.to_close.pop_front()?;
            if self.client(handle).is_some() {
                return Some((handle.key, close));
            }
        }
    }

    /// The client's output was ended, after [`CloseStep::ShutdownWrite`]; or, if it is not done yet, it will be when
    /// the socket takes bytes again.
    pub fn handle_write_shutdown(&mut self, key: usize, is_done: bool) {
        let client = &mut self.clients[key];
        if let Stage::Leaving { step, .. } = &mut client.stage
            && *step == Step::Ending
        {
            *step = if is_done { Step::Finished } else { Step::Flushing };
            client.socket.full = !is_done;
        }
        self.settle(key);
    }

    /// The connection was closed, after [`CloseStep::Close`]. Its key may be used again.
    pub fn remove(&mut self, key: usize) -> Disconnect {
        self.set_deadline(key, None);
        self.note_progress();
        let client = self.clients.remove(key);
        let Stage::Leaving { reason, step } = client.stage else {
            unreachable!("a connection is dropped only when its client leaves")
        };
        Disconnect {
            id: client.id,
            name: client.name,
            reason,
            is_cut: step != Step::Finished || client.is_lapped,
            missed: client.missed,
            connected_ms: self.now_ms - client.connected_at_ms,
            bytes_in: client.bytes_in,
            bytes_out: client.bytes_out,
        }
    }

    /// When [`begin_turn`](Self::begin_turn) should be called at the latest, in milliseconds since
    /// the server's start.
    pub fn next_deadline(&self) -> Option<u64> {
        let first =
            |set: &BTreeSet<(u64, Handle)>| set.first().map(|(deadline_ms, _)| *deadline_ms);
        let next = [first(&self.deadlines), first(&self.throttled), self.next_look_at_readers()];
        next.into_iter().flatten().min()
    }

    /// The client's stream ends here: it gets what it is owed so far and its goodbye, and nothing
    /// more is executed.
    pub(super) fn leave(&mut self, key: usize, reason: Reason) {
        let head = self.feed.head();
        self.stop_throttling(key);
        let client = &mut self.clients[key];
        let was = client.stage;
        // To whom nothing can be said nothing is owed.
        let is_owed_nothing = was == Stage::Arriving && reason != Reason::HandshakeFailed;
        let step = if is_owed_nothing { Step::Finished } else { Step::Draining };
        client.stage = Stage::Leaving { reason, step };
        self.reports.push_back(Event::Leaves { id: client.id, reason });
        client.outbox.stop_following(head);
        client.input = LineBuffer::new(0);
        client.has_lines = false;
        if was == Stage::Inside {
            self.directory.leave(client.id, client.name.as_deref());
        }
        self.set_deadline(key, Some(self.now_ms + self.rules.limits.drain_timeout_ms));
        if is_owed_nothing {
            return self.drop_connection(key);
        }
        self.queue_read(key);
        self.settle(key);
    }

    /// The feed has lapped the client, which may be on its way already: then that is why it ends now.
    /// Only one that does not understand us is told nothing.
    pub(super) fn leave_lapped(&mut self, key: usize, why: Reason) {
        match &mut self.clients[key].stage {
            Stage::Arriving | Stage::Outside | Stage::Inside => {
                return self.leave(key, why);
            }
            Stage::Leaving { reason, .. } => {
                if !matches!(reason, Reason::Foreign(_)) {
                    *reason = why;
                }
                let reason = *reason;
                self.reports.push_back(Event::Leaves { id: self.id(key), reason });
            }
        }
        self.settle(key);
    }

    /// Takes a leaving client on to the next step, if the last one is done.
    pub(super) fn settle(&mut self, key: usize) {
        let head = self.feed.head();
        let handle = self.handle(key);
        let client = &mut self.clients[key];
        let Stage::Leaving { reason, step } = &mut client.stage else { return };
        let is_closed = client.outbox.is_closed();
        // What the socket has refused may be held by the transport, too.
        let owes = client.outbox.owes(head) || client.socket.full;
        if *step == Step::Draining && !owes && !is_closed {
            *step = Step::SayingGoodbye;
            if let Some(word) = reason.goodbye() {
                return self.reply(key, Reply::Goodbye(word));
            }
        }
        if *step == Step::SayingGoodbye && !owes && !is_closed {
            *step = Step::Ending;
            self.to_close.push_back((handle, CloseStep::ShutdownWrite));
        }
        if *step == Step::Flushing && !owes {
            *step = Step::Finished;
        }
        if is_closed || (*step == Step::Finished && client.socket.ended) {
            self.drop_connection(key);
        }
    }

    /// Sees to those whose time is up.
    pub(super) fn meet_deadlines(&mut self) {
        while let Some(&(deadline_ms, Handle { key, .. })) = self.deadlines.first()
            && deadline_ms <= self.now_ms
        {
            match self.clients[key].stage {
                Stage::Arriving | Stage::Outside => self.leave(key, Reason::AuthTimeout),
                Stage::Inside => self.leave_if_idle(key),
                Stage::Leaving { .. } => {
                    self.set_deadline(key, None);
                    self.drop_connection(key);
                }
            }
        }
    }

    /// The deadline stays while things happen: only when it comes is it seen whether they did.
    fn leave_if_idle(&mut self, key: usize) {
        let client = &self.clients[key];
        // Who may not say all at once, and is gone, was given so long for it: see `give_up_soon`.
        if client.socket.hung_up && self.rules.limits.rate_limit.is_some() {
            return self.leave(key, Reason::Lost);
        }
        // As long as it is the server that does not listen to what it says, or that holds back what it
        // would take, it is not idle.
        let queued = client.queued;
        let is_unheard = queued.to_run || queued.throttled_until_ms.is_some();
        let now_ms = if is_unheard || !self.held.is_empty() { self.now_ms } else { 0 };
        let active_at_ms = client.said_at_ms.max(client.took_bytes_at_ms).max(now_ms);
        let timeout_ms = self.rules.limits.idle_timeout_ms;
        match timeout_ms.map(|timeout_ms| active_at_ms + timeout_ms) {
            Some(deadline_ms) if deadline_ms <= self.now_ms => self.leave(key, Reason::Idle),
            later => self.set_deadline(key, later),
        }
    }

    fn drop_connection(&mut self, key: usize) {
        // It may be said more than once before it is done, which is then ignored.
        self.to_close.push_back((self.handle(key), CloseStep::Close));
    }

    /// Sets the time at which the client's stage is over at the latest.
    pub(super) fn set_deadline(&mut self, key: usize, deadline_ms: Option<u64>) {
        let handle = self.handle(key);
        let before_ms = mem::replace(&mut self.clients[key].deadline_ms, deadline_ms);
        if let Some(before_ms) = before_ms {
            self.deadlines.remove(&(before_ms, handle));
        }
        if let Some(deadline_ms) = deadline_ms {
            self.deadlines.insert((deadline_ms, handle));
        }
    }
}
