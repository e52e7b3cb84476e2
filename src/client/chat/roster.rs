//! The connected clients, and those who have sent messages.
//!
//! The protocol does not announce clients that connect or disconnect. The chat therefore polls the
//! list of clients and compares each list with the previous one.
//!
//! This module performs **no I/O** and reads no clock. The server is not trusted: all lists are
//! bounded, and only valid names are kept.

use std::collections::VecDeque;
use std::mem;

use super::presence::{Presence, Row, label};
use crate::protocol::{Command, Name, Recipient};

/// The maximum number of clients to watch.
const MAX_WATCHED: u64 = 100;

/// The maximum number of rows in a reply to `clients`.
const MAX_ROWS: usize = 500;

/// The maximum number of message senders to remember.
const MAX_HEARD: usize = 100;

/// The maximum number of this client's connections to remember. The server may still list lost
/// connections.
const MAX_OWN: usize = 8;

/// The maximum length of the list of clients when the chat starts, in bytes.
const MAX_LIST: usize = 200;

/// The maximum length of the list that the user requests, in bytes.
const MAX_LONG_LIST: usize = 700;

/// The connected clients, and those who have sent messages.
#[derive(Debug, Default)]
pub(super) struct Roster {
    /// Whether to report who joins and leaves.
    is_watching: bool,
    state: State,
    /// The rows received of the current reply to `clients`.
    rows: Vec<Row>,
    /// The ids of this client's connections, newest first.
    own: VecDeque<u64>,
    /// This client's name on the current connection.
    name: Option<String>,
    /// The names of message senders, the most recent first.
    heard: VecDeque<String>,
    /// Who sent the last direct message.
    reply_to: Option<String>,
}

/// What the last list showed.
#[derive(Debug, Default)]
enum State {
    /// No list has arrived yet. The next one is shown.
    #[default]
    Unknown,
    /// Too many clients to watch.
    Crowded,
    /// The other clients.
    Known(Presence),
}

impl Roster {
    pub(super) fn new(is_watching: bool) -> Self {
        Self { is_watching, ..Self::default() }
    }

    /// Handles a new connection, on which this client has this id. A server never reuses an id, but
    /// a restarted one begins again.
    pub(super) fn on_connected(&mut self, id: u64, is_restarted: bool) {
        if is_restarted {
            self.state = State::Unknown;
            self.own.clear();
            // Names and ids may belong to other clients now.
            self.reply_to = None;
        }
        self.own.push_front(id);
        self.own.truncate(MAX_OWN);
        self.name = None;
        self.rows.clear();
    }

    /// Handles the confirmation of this client's name.
    pub(super) fn on_name(&mut self, name: &str) {
        if Name::parse(name).is_some() {
            self.name = Some(name.to_owned());
        }
    }

    /// This client's name, or `None` while it has none.
    pub(super) fn own_name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// How this client's lines are attributed: by name, or by id if it has none.
    pub(super) fn own_sender(&self) -> String {
        self.own_name().map_or_else(|| self.own_id().to_string(), str::to_owned)
    }

    fn own_id(&self) -> u64 {
        self.own.front().copied().unwrap_or_default()
    }

    /// Handles a message from another client.
    pub(super) fn on_message(&mut self, from: &str) {
        if Name::parse(from).is_some() && self.own_name() != Some(from) {
            self.heard.retain(|name| name != from);
            self.heard.push_front(from.to_owned());
            self.heard.truncate(MAX_HEARD);
        }
    }

    /// Handles a direct message.
    pub(super) fn on_direct(&mut self, from: &str) {
        self.on_message(from);
        self.reply_to = Recipient::parse(from).map(|from| from.as_str().to_owned());
    }

    /// Who receives the reply to the last direct message.
    pub(super) fn reply_to(&self) -> Option<Recipient<'_>> {
        self.reply_to.as_deref().and_then(Recipient::parse)
    }

    /// Returns the other clients' names: message senders first, the most recent one at the front.
    pub(super) fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.heard.iter().map(String::as_str).collect();
        if let State::Known(presence) = &self.state {
            let is_new = |name: &&str| !self.heard.iter().any(|heard| heard == name);
            names.extend(presence.names().filter(is_new));
        }
        names.retain(|name| self.own_name() != Some(name));
        names
    }

    /// Returns the name of the client with this id, if it is known.
    pub(super) fn name_of(&self, id: u64) -> Option<&str> {
        if let State::Known(presence) = &self.state { presence.name_of(id) } else { None }
    }

    /// Returns whether a message's sender is missing on the last list.
    pub(super) fn is_new(&self, from: &str) -> bool {
        let State::Known(presence) = &self.state else { return false };
        self.is_watching && Name::parse(from).is_some() && !presence.has_name(from)
    }

    /// Returns the next request for the list, or `None` if it is not needed.
    pub(super) fn request(&self) -> Option<Command<'static>> {
        match self.state {
            State::Unknown => Some(Command::Clients { after: None }),
            _ if !self.is_watching => None,
            // The reply has no rows, only the total.
            State::Crowded => Some(Command::Clients { after: Some(u64::MAX) }),
            State::Known(_) => Some(Command::Clients { after: None }),
        }
    }

    pub(super) fn is_crowded(&self) -> bool {
        matches!(self.state, State::Crowded)
    }

    /// Handles a row of a reply to `clients`.
    pub(super) fn on_row(&mut self, id: u64, name: Option<&str>) {
        if self.rows.len() < MAX_ROWS {
            let name = name.filter(|name| Name::parse(name).is_some()).map(str::to_owned);
            self.rows.push(Row { id, name });
        }
    }

    /// Returns the rows of a reply to `clients` after its final line.
    pub(super) fn take_rows(&mut self) -> Vec<Row> {
        mem::take(&mut self.rows)
    }

    /// Handles the final line of the reply to [`request`](Self::request). Returns notices about the
    /// connected clients, and those that joined and left.
    pub(super) fn on_list(&mut self, total: u64) -> Vec<String> {
        let rows = self.take_rows();
        let mut notices = vec![];
        let before = mem::take(&mut self.state);
        if matches!(before, State::Unknown) {
            notices.push(self.list(&rows, total, MAX_LIST));
        }
        match before {
            _ if total > MAX_WATCHED => {
                self.state = State::Crowded;
                if self.is_watching && !matches!(before, State::Crowded) {
                    notices.push(format!(
                        "more than {MAX_WATCHED} clients are here; \
                         the chat does not show who joins and leaves"
                    ));
                }
            }
            // The state is unknown, so the next list is shown.
            State::Crowded => {}
            State::Unknown => self.state = State::Known(Presence::new(self.others(rows))),
            State::Known(mut presence) => {
                let changes = presence.update(self.others(rows));
                self.heard.retain(|name| presence.has_name(name));
                // If another client has the old name, it may have sent the message.
                if let Some(from) = &self.reply_to
                    && !presence.has_name(from)
                    && let Some(name) = changes.new_name(from)
                {
                    self.reply_to = Some(name.to_owned());
                }
                notices.extend(changes.notice());
                self.state = State::Known(presence);
            }
        }
        notices
    }

    fn others(&self, rows: Vec<Row>) -> impl Iterator<Item = Row> {
        rows.into_iter().filter(|row| !self.own.contains(&row.id))
    }

    /// Formats the reply to `/who`.
    pub(super) fn long_list(&self, rows: &[Row], total: u64) -> String {
        self.list(rows, total, MAX_LONG_LIST)
    }

    /// Lists the clients in at most about `max_len` bytes: this one, then those with names, and
    /// then the others.
    fn list(&self, rows: &[Row], total: u64, max_len: usize) -> String {
        let others = || rows.iter().filter(|row| self.own.front() != Some(&row.id));
        let mut labels: Vec<String> = others().filter_map(|row| row.name.clone()).collect();
        labels.sort_unstable_by_key(|label| label.to_ascii_lowercase());
        labels.extend(others().filter(|row| row.name.is_none()).map(Row::label));
        let mut list = format!("{total} here: {} (you)", label(self.own_id(), self.own_name()));
        let mut shown = 1;
        for label in labels {
            if list.len() + label.len() > max_len {
                break;
            }
            list += &format!(", {label}");
            shown += 1;
        }
        match total.saturating_sub(shown) {
            0 => {}
            1 => list += " and 1 other",
            others => list += &format!(" and {others} others"),
        }
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a roster of client 1, called alice, that has seen this list.
    fn roster(list: &str) -> Roster {
        let mut roster = Roster::new(true);
        roster.on_connected(1, false);
        roster.on_name("alice");
        receive(&mut roster, list);
        roster
    }

    /// Lets the server reply to `clients` with a list such as `1 alice, 2 -`. Returns the notices.
    fn receive(roster: &mut Roster, list: &str) -> Vec<String> {
        assert_eq!(roster.request(), Some(Command::Clients { after: None }));
        let rows: Vec<&str> = list.split(", ").collect();
        for row in &rows {
            let (id, name) = row.split_once(' ').expect("an id and a name");
            roster.on_row(id.parse().expect("an id"), Some(name).filter(|name| *name != "-"));
        }
        roster.on_list(rows.len() as u64)
    }

    /// Replies with clients `a1`, `a2` and so on, and this one.
    fn receive_many(roster: &mut Roster, count: u64) -> Vec<String> {
        let rows: Vec<String> = (2..=count).map(|id| format!("{id} a{id}")).collect();
        receive(roster, &format!("1 alice, {}", rows.join(", ")))
    }

    #[test]
    fn first_list_shows_who_is_here() {
        let mut roster = Roster::new(true);
        roster.on_connected(7, false);
        assert_eq!(receive(&mut roster, "7 -"), ["1 here: client 7 (you)"]);
        let mut roster = Roster::new(true);
        roster.on_connected(1, false);
        roster.on_name("alice");
        let notices = receive(&mut roster, "1 alice, 2 -, 3 dave, 4 Bob");
        assert_eq!(notices, ["4 here: alice (you), Bob, dave, client 2"]);
        assert_eq!(receive(&mut roster, "1 alice, 2 -, 3 dave, 4 Bob"), [""; 0]);
    }

    #[test]
    fn reply_follows_the_sender_to_a_new_name_unless_another_client_has_the_old_one() {
        for (from, after, to) in [
            ("bob", "1 alice, 2 robert, 3 carol", "robert"),
            ("bob", "1 alice, 2 bob, 3 carla", "bob"),
            ("bob", "1 alice, 3 carol", "bob"),
            ("bob", "1 alice, 2 robert, 3 bob", "bob"),
            ("robert", "1 alice, 2 robert, 3 carol", "robert"),
            ("4", "1 alice, 2 bob, 3 carol, 4 dave", "4"),
        ] {
            let mut roster = roster("1 alice, 2 bob, 3 carol");
            roster.on_direct(from);
            receive(&mut roster, after);
            assert_eq!(roster.reply_to(), Recipient::parse(to), "{from}: {after}");
            roster.on_connected(1, true);
            assert_eq!(roster.reply_to(), None);
        }
    }

    #[test]
    fn comparison_continues_after_a_reconnect_but_not_after_a_restart() {
        let mut roster = roster("1 alice, 2 bob, 3 carol");
        roster.on_connected(5, false);
        // The lost connection is still listed, and has the name.
        assert_eq!(
            receive(&mut roster, "1 alice, 2 bob, 4 dave, 5 -"),
            ["dave joined; carol left"]
        );
        roster.on_name("alice");
        assert_eq!(receive(&mut roster, "2 bob, 4 dave, 5 alice"), [""; 0]);
        roster.on_connected(1, true);
        assert_eq!(receive(&mut roster, "1 -, 2 carol"), ["2 here: client 1 (you), carol"]);
    }

    #[test]
    fn crowd_is_not_watched_until_it_becomes_smaller() {
        let mut roster = roster("1 alice");
        assert_eq!(receive_many(&mut roster, 100), ["a2 and 98 others joined"]);
        let notice = "more than 100 clients are here; the chat does not show who joins and leaves";
        assert_eq!(receive_many(&mut roster, 101), [notice]);
        let total = Some(Command::Clients { after: Some(u64::MAX) });
        for count in [102, 150, 100] {
            assert!(roster.is_crowded());
            assert_eq!(roster.request(), total);
            assert_eq!(roster.on_list(count), [""; 0]);
        }
        let notices = receive_many(&mut roster, 99);
        assert!(notices[0].starts_with("99 here: alice (you), a10, a11, "), "{notices:?}");
        assert_eq!(receive_many(&mut roster, 101), [notice], "the crowd is back");
    }

    #[test]
    fn without_watching_only_the_first_list_is_requested() {
        let mut roster = Roster::new(false);
        roster.on_connected(1, false);
        assert_eq!(receive(&mut roster, "1 -, 2 bob"), ["2 here: client 1 (you), bob"]);
        assert_eq!(roster.request(), None);
        roster.on_connected(3, false);
        assert_eq!(roster.request(), None);
        roster.on_connected(1, true);
        let notices = receive_many(&mut roster, 101);
        assert_eq!(notices.len(), 1, "{notices:?}");
        assert_eq!(roster.request(), None);
    }

    #[test]
    fn lists_are_bounded_and_names_are_valid() {
        let mut roster = roster("1 alice");
        for id in 2..10_000 {
            roster.on_row(id, Some("x\u{202e}"));
        }
        assert_eq!(roster.rows.len(), MAX_ROWS);
        let rows = roster.take_rows();
        assert!(rows.iter().all(|row| row.name.is_none()));
        let list = roster.long_list(&rows, 9_999);
        assert!(list.len() < 720 && list.ends_with(" others"), "{list}");
        assert_eq!(
            roster.list(&rows, 9_999, 40),
            "9999 here: alice (you), client 2, client 3 and 9996 others"
        );
        for id in 0..1000 {
            roster.on_message(&format!("a{id}"));
            roster.on_message("1");
            roster.on_connected(id, false);
        }
        assert_eq!((roster.names().len(), roster.own.len()), (MAX_HEARD, MAX_OWN));
    }

    #[test]
    fn names_are_ordered_by_their_last_message() {
        let mut roster = roster("1 alice, 2 bob, 3 carol, 4 -, 5 dave");
        assert_eq!(roster.names(), ["bob", "carol", "dave"]);
        for from in ["dave", "carol", "alice", "4", "erin", "carol"] {
            roster.on_message(from);
        }
        assert_eq!(roster.names(), ["carol", "erin", "dave", "bob"]);
        receive(&mut roster, "1 alice, 3 carol, 4 -, 5 dave, 6 fred");
        assert_eq!(roster.names(), ["carol", "dave", "fred"], "erin and bob are not here");
        roster.on_name("fred");
        assert_eq!(roster.names(), ["carol", "dave"]);
    }
}
