//! What each command does.

use crate::limits::CLIENTS_PER_PAGE;
use crate::protocol::{
    COMMANDS, Command, DecimalBuf, ErrorCode, FeedId, Line, Name, OkReply, Recipient, Reply,
};

use super::client::Reason;
use super::pacing::Wait;
use super::{Hub, access};

impl Hub {
    pub(super) fn dispatch(&mut self, key: usize, line: Line<'_>) -> Result<(), Wait> {
        match line {
            Line::Text(text) => return self.request(key, text),
            Line::Blank(_) => {}
            Line::NotText(_) => {
                let explanation = "a line is UTF-8 without control characters";
                self.error(key, ErrorCode::NotText, explanation);
            }
            Line::TooLong => {
                let explanation =
                    format!("a line has at most {} bytes", self.rules.limits.max_line);
                self.error(key, ErrorCode::LineTooLong, &explanation);
            }
            Line::Incomplete(_) => {
                let explanation = "the last line had no line feed, and was not executed";
                self.error(key, ErrorCode::IncompleteLine, explanation);
            }
            Line::Foreign(foreign) => self.leave(key, Reason::Foreign(foreign)),
        }
        Ok(())
    }

    fn request(&mut self, key: usize, text: &str) -> Result<(), Wait> {
        let request = Command::parse(text);
        if !self.clients[key].is_inside() && !access::is_open_to_all(&request) {
            self.error(key, ErrorCode::AuthRequired, "auth <secret> first");
            return Ok(());
        }
        match request {
            Ok(command) => return self.command(key, command),
            Err(error) => match error.usage() {
                Some(usage) => self.error(key, error.code(), &format!("usage: {usage}")),
                None => self.error(key, error.code(), "help lists the commands"),
            },
        }
        Ok(())
    }

    fn command(&mut self, key: usize, command: Command<'_>) -> Result<(), Wait> {
        match command {
            Command::Ping { text } => self.reply(key, Reply::Pong(text)),
            Command::Broadcast { text } => return self.broadcast(key, text),
            Command::Send { client, text } => self.send(key, client, text),
            Command::Name { name } => self.rename(key, name),
            Command::Clients { after } => self.list_clients(key, after.unwrap_or(0)),
            Command::Quiet => self.quiet(key),
            Command::Listen => self.listen(key),
            Command::Stats => self.stats(key),
            Command::Help => self.help(key),
            Command::Quit => self.leave(key, Reason::Quit),
            Command::Shutdown => self.request_shutdown(key),
            Command::Auth { secret } => self.authenticate(key, secret),
            Command::History { count } => self.history(key, count),
            Command::Resume { seq, feed } => self.resume(key, seq, feed),
        }
        Ok(())
    }

    fn broadcast(&mut self, key: usize, text: &str) -> Result<(), Wait> {
        let seq = self.append(key, text)?;
        if !self.clients[key].outbox.follows() {
            self.ok(key, OkReply::Broadcast { seq });
        }
        Ok(())
    }

    fn send(&mut self, key: usize, recipient: Recipient<'_>, text: &str) {
        let Some(to) = self.directory.find(recipient) else {
            return self.error(key, ErrorCode::NoSuchClient, "clients lists who is here");
        };
        let sender = &self.clients[key];
        let from = sender.attribution(&mut DecimalBuf::default()).to_owned();
        let client = &self.clients[to];
        // The room for a reply is not for others to take: it is what lets a client go on.
        if client.outbox.is_closed() || !self.has_reply_room(client) {
            return self.error(
                key,
                ErrorCode::Busy,
                "the recipient does not read; try again later",
            );
        }
        self.counters.directs += 1;
        self.reply(to, Reply::Direct { from: &from, text });
        self.ok(key, OkReply::Send { client: recipient.as_str() });
    }

    fn rename(&mut self, key: usize, name: Name<'_>) {
        let client = &mut self.clients[key];
        if !self.directory.rename(client.id, client.name.as_deref(), name) {
            return self.error(
                key,
                ErrorCode::NameTaken,
                "somebody here has this name; choose another",
            );
        }
        client.name = Some(name.as_str().into());
        self.ok(key, OkReply::Name { name: name.as_str() });
    }

    fn list_clients(&mut self, key: usize, after: u64) {
        let page: Vec<usize> = self.directory.after(after).take(CLIENTS_PER_PAGE).collect();
        let total = self.directory.len() as u64;
        for &listed in &page {
            let client = &self.clients[listed];
            let (id, name) = (client.id, client.name.clone());
            self.reply(key, Reply::Client { id, name: name.as_deref() });
        }
        self.ok(key, OkReply::Clients { shown: page.len() as u64, total });
    }

    fn quiet(&mut self, key: usize) {
        let head = self.feed.head();
        self.clients[key].outbox.stop_following(head);
        self.ok(key, OkReply::Quiet);
    }

    fn listen(&mut self, key: usize) {
        self.ok(key, OkReply::Listen { seq: self.feed.newest_seq() });
        let head = self.feed.head();
        self.clients[key].outbox.follow(head);
    }

    fn history(&mut self, key: usize, count: u64) {
        let lines = count.min(self.feed.kept_lines());
        self.ok(key, OkReply::History { lines });
        self.rewind(key, self.feed.newest_seq() - lines);
    }

    fn resume(&mut self, key: usize, seq: u64, feed: Option<FeedId>) {
        let id = self.feed.id();
        let oldest = self.feed.oldest_available();
        let is_another = feed.is_some_and(|feed| feed != id);
        if is_another || seq.saturating_add(1) < oldest {
            let why = if is_another { "this is another feed" } else { "older lines are not kept" };
            let explanation = format!("{oldest} {id} {why}");
            return self.error(key, ErrorCode::Gone, &explanation);
        }
        if seq > self.feed.newest_seq() {
            let explanation = format!("the newest line is {}", self.feed.newest_seq());
            return self.error(key, ErrorCode::BadArgument, &explanation);
        }
        self.ok(key, OkReply::Resume { seq });
        self.rewind(key, seq);
    }

    /// Has the client get the lines after `seq`, which are kept, and go on from there.
    fn rewind(&mut self, key: usize, seq: u64) {
        let head = self.feed.head();
        let Some((place, looked_at)) = self.feed.place_after(seq) else { return };
        self.clients[key].outbox.jump(head, place);
        self.note_progress();
        // Counting lines is work, and can be asked for with a few bytes.
        self.charge_look(looked_at);
    }

    fn stats(&mut self, key: usize) {
        let counters = self.counters;
        let stats = [
            ("uptime_seconds", self.now_ms / 1000),
            ("clients", self.directory.len() as u64),
            ("clients_total", counters.clients_total),
            ("refused", counters.refused),
            ("lines_in", counters.lines_in),
            ("errors", counters.errors),
            ("broadcasts", counters.broadcasts),
            ("directs", counters.directs),
            ("bytes_in", counters.bytes_in),
            ("bytes_out", counters.bytes_out),
            ("feed_bytes", self.feed.kept_bytes()),
            ("feed_oldest", self.feed.oldest_seq()),
            ("feed_newest", self.feed.newest_seq()),
            ("too_slow", counters.too_slow),
            ("lagged", counters.lagged),
            ("held", counters.held),
            ("log_dropped", counters.log_dropped),
            ("max_line", self.rules.limits.max_line as u64),
        ];
        for (name, value) in stats {
            self.reply(key, Reply::Stat { key: name, value });
        }
        self.ok(key, OkReply::Stats);
    }

    fn help(&mut self, key: usize) {
        for spec in &COMMANDS {
            let text = format!("{} - {}", spec.usage, spec.help);
            self.reply(key, Reply::Help { text: &text });
        }
        self.ok(key, OkReply::Help);
    }

    pub(super) fn ok(&mut self, key: usize, topic: OkReply<'_>) {
        self.reply(key, Reply::Ok(topic));
    }

    pub(super) fn error(&mut self, key: usize, code: ErrorCode, explanation: &str) {
        self.counters.errors += 1;
        self.reply(key, Reply::Error { code: code.as_str(), explanation });
    }
}
