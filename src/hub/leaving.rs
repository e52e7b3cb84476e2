//! How clients leave, each one and all of them.

use std::mem;

use crate::protocol::{LineBuffer, Reply};

use super::Hub;
use super::client::{Reason, Stage, Step};

/// What is to be done to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// Shut down its write side: everything was sent. What the peer still sends is read and dropped
    /// until its end, for a close with unread input would destroy what was sent.
    Finish,
    /// Close it, and [`remove`](Hub::remove) the client.
    Drop,
}

/// What a client was, for the log.
#[derive(Debug, PartialEq, Eq)]
pub struct Departure {
    /// Its id.
    pub id: u64,
    /// Its last name.
    pub name: Option<Box<str>>,
    /// Why it left.
    pub reason: Reason,
    /// It did not get all that it was owed.
    pub is_cut: bool,
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
        let inside = self.clients.iter().filter(|(_, client)| client.is_inside());
        let keys: Vec<usize> = inside.map(|(key, _)| key).collect();
        for key in keys {
            self.leave(key, Reason::Shutdown);
        }
    }

    /// The next connection to be finished or closed.
    pub fn poll_close(&mut self) -> Option<(usize, Close)> {
        loop {
            let (handle, close) = self.to_close.pop_front()?;
            if self.client(handle).is_some() {
                return Some((handle.key, close));
            }
        }
    }

    /// The connection was closed, after [`Close::Drop`]. Its key may be used again.
    pub fn remove(&mut self, key: usize) -> Departure {
        let client = self.clients.remove(key);
        let Stage::Leaving { reason, step } = client.stage else {
            unreachable!("a connection is dropped only when its client leaves")
        };
        Departure {
            id: client.id,
            name: client.name,
            reason,
            is_cut: step != Step::Finished || client.is_lapped,
            connected_ms: self.now_ms - client.connected_at_ms,
            bytes_in: client.bytes_in,
            bytes_out: client.bytes_out,
        }
    }

    /// When [`begin_turn`](Self::begin_turn) should be called at the latest, in milliseconds since
    /// the server's start.
    pub fn next_deadline(&mut self) -> Option<u64> {
        while let Some(&(_, handle)) = self.deadlines.front()
            && self.client(handle).is_none()
        {
            self.deadlines.pop_front();
        }
        let leaving = self.deadlines.front().map(|(deadline, _)| *deadline);
        leaving.into_iter().chain(self.next_look_at_readers()).min()
    }

    /// The client's stream ends here: it gets what it is owed so far and its goodbye, and nothing
    /// more is executed.
    pub(super) fn leave(&mut self, key: usize, reason: Reason) {
        let head = self.feed.head();
        let client = &mut self.clients[key];
        client.stage = Stage::Leaving { reason, step: Step::Draining };
        client.outbox.stop_following(head);
        client.input = LineBuffer::new(0);
        client.has_lines = false;
        self.directory.leave(client.id, client.name.as_deref());
        self.set_deadline(key);
        self.queue_read(key);
        self.settle(key);
    }

    /// The feed has lapped the client, which may be on its way already: then that is why it ends now.
    /// Only one that does not understand us is told nothing.
    pub(super) fn leave_lapped(&mut self, key: usize) {
        match &mut self.clients[key].stage {
            Stage::Inside => return self.leave(key, Reason::TooSlow),
            Stage::Leaving { reason: Reason::Foreign(_), .. } => {}
            Stage::Leaving { reason, .. } => *reason = Reason::TooSlow,
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
        let owes = client.outbox.owes(head);
        if *step == Step::Draining && !owes && !is_closed {
            *step = Step::SayingGoodbye;
            if let Some(word) = reason.goodbye() {
                return self.reply(key, Reply::Goodbye(word));
            }
        }
        if *step == Step::SayingGoodbye && !owes && !is_closed {
            *step = Step::Finished;
            if !client.socket.ended {
                self.to_close.push_back((handle, Close::Finish));
            }
        }
        if is_closed || (*step == Step::Finished && client.socket.ended) {
            self.drop_connection(key);
        }
    }

    /// Closes those whose time is up.
    pub(super) fn close_overdue(&mut self) {
        while let Some(&(deadline, handle)) = self.deadlines.front() {
            if deadline > self.now_ms {
                break;
            }
            self.deadlines.pop_front();
            if self.client(handle).is_some() {
                self.drop_connection(handle.key);
            }
        }
    }

    fn drop_connection(&mut self, key: usize) {
        let handle = self.handle(key);
        if !mem::replace(&mut self.clients[key].is_dropped, true) {
            self.to_close.push_back((handle, Close::Drop));
        }
    }

    /// Notes the latest time at which a client that leaves now is closed. All get the same time, so
    /// the queue is in order by itself. Those closed since are weeded out before they can pile up.
    fn set_deadline(&mut self, key: usize) {
        if self.deadlines.len() > 2 * self.clients.len() + 64 {
            let clients = &self.clients;
            self.deadlines
                .retain(|(_, old)| clients.get(old.key).is_some_and(|client| client.id == old.id));
        }
        let deadline = self.now_ms + self.rules.limits.drain_timeout_ms;
        let handle = self.handle(key);
        self.deadlines.push_back((deadline, handle));
    }
}
