//! Compares the list of clients with the previous one.

use std::collections::BTreeMap;

/// The maximum number of names, or of name changes, in a notice.
const MAX_LISTED: usize = 3;

/// A client in a reply to `clients`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) id: u64,
    pub(super) name: Option<String>,
}

/// The other clients on the last list, by id.
#[derive(Debug)]
pub(super) struct Presence(BTreeMap<u64, Member>);

#[derive(Debug)]
struct Member {
    name: Option<String>,
    /// A client without a name is reported only when it is listed a second time: most scripts
    /// disconnect before that, and most people have chosen a name by then.
    is_reported: bool,
}

/// The differences between two lists.
#[derive(Debug, Default)]
pub(super) struct Changes {
    joined: Vec<String>,
    left: Vec<String>,
    /// A client that reconnects has another id.
    reconnected: Vec<String>,
    /// The old and the new names.
    renamed: Vec<(String, String)>,
}

impl Row {
    pub(super) fn label(&self) -> String {
        label(self.id, self.name.as_deref())
    }
}

pub(super) fn label(id: u64, name: Option<&str>) -> String {
    name.map_or_else(|| format!("client {id}"), str::to_owned)
}

impl Presence {
    pub(super) fn new(rows: impl Iterator<Item = Row>) -> Self {
        Self(rows.map(|row| (row.id, Member { name: row.name, is_reported: true })).collect())
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.values().filter_map(|member| member.name.as_deref())
    }

    pub(super) fn has_name(&self, name: &str) -> bool {
        self.names().any(|other| other == name)
    }

    pub(super) fn name_of(&self, id: u64) -> Option<&str> {
        self.0.get(&id)?.name.as_deref()
    }

    /// Replaces the clients by those in these rows. Returns the differences.
    pub(super) fn update(&mut self, rows: impl Iterator<Item = Row>) -> Changes {
        let mut changes = Changes::default();
        let mut before = std::mem::take(&mut self.0);
        for row in rows {
            let label = row.label();
            let is_reported = match before.remove(&row.id) {
                None if row.name.is_none() => false,
                None | Some(Member { is_reported: false, .. }) => {
                    changes.joined.push(label);
                    true
                }
                Some(Member { name, .. }) => {
                    if name != row.name {
                        changes.renamed.push((self::label(row.id, name.as_deref()), label));
                    }
                    true
                }
            };
            self.0.insert(row.id, Member { name: row.name, is_reported });
        }
        let gone = before.into_iter().filter(|(_, member)| member.is_reported);
        changes.left = gone.map(|(id, member)| label(id, member.name.as_deref())).collect();
        let left = &changes.left;
        (changes.reconnected, changes.joined) =
            changes.joined.into_iter().partition(|label| left.contains(label));
        changes.left.retain(|label| !changes.reconnected.contains(label));
        changes
    }
}

impl Changes {
    /// Returns the new name of the client that had this one, if it has changed.
    pub(super) fn new_name(&self, name: &str) -> Option<&str> {
        self.renamed.iter().find(|(old, _)| old == name).map(|(_, new)| new.as_str())
    }

    /// Formats the changes for the user. Returns `None` if there are none.
    pub(super) fn notice(&self) -> Option<String> {
        let changes =
            [(&self.joined, "joined"), (&self.left, "left"), (&self.reconnected, "reconnected")];
        let mut parts: Vec<String> = changes
            .iter()
            .filter(|(labels, _)| !labels.is_empty())
            .map(|(labels, what)| format!("{} {what}", enumerate(labels)))
            .collect();
        let renamed = self.renamed.iter().take(MAX_LISTED);
        parts.extend(renamed.map(|(old, new)| format!("{old} is now called {new}")));
        match self.renamed.len().saturating_sub(MAX_LISTED) {
            0 => {}
            1 => parts.push("1 other changed its name".to_owned()),
            others => parts.push(format!("{others} others changed their names")),
        }
        (!parts.is_empty()).then(|| parts.join("; "))
    }
}

/// Joins the labels as in a sentence. If there are many, names only the first one.
fn enumerate(labels: &[String]) -> String {
    match labels {
        [label] => label.clone(),
        [first, others @ ..] if labels.len() > MAX_LISTED => {
            format!("{first} and {} others", others.len())
        }
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
        [] => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parses a list such as `2 bob, 3 -`.
    fn rows(list: &str) -> impl Iterator<Item = Row> {
        list.split_terminator(", ").map(|row| {
            let (id, name) = row.split_once(' ').expect("an id and a name");
            let name = Some(name).filter(|name| *name != "-").map(str::to_owned);
            Row { id: id.parse().expect("an id"), name }
        })
    }

    /// Returns the notice about the changes, or an empty text.
    fn update(presence: &mut Presence, list: &str) -> String {
        presence.update(rows(list)).notice().unwrap_or_default()
    }

    #[test]
    fn changes_are_combined_into_one_notice() {
        for (after, notice) in [
            ("2 bob, 3 carol, 4 dave", "dave joined"),
            ("2 bob", "carol left"),
            ("", "bob and carol left"),
            ("2 bob, 3 carol, 4 d, 5 e, 6 f", "d, e and f joined"),
            ("2 bob, 3 carol, 4 d, 5 e, 6 f, 7 g", "d and 3 others joined"),
            ("2 robert, 3 carol", "bob is now called robert"),
            ("3 carol, 4 bob", "bob reconnected"),
            ("3 bob, 4 d", "d joined; bob left; carol is now called bob"),
        ] {
            let mut presence = Presence::new(rows("2 bob, 3 carol"));
            assert_eq!(update(&mut presence, after), notice, "{after}");
            assert_eq!(update(&mut presence, after), "", "{after}");
        }
        let mut presence = Presence::new(rows("2 a, 3 b, 4 c, 5 d, 6 e"));
        assert_eq!(
            update(&mut presence, "2 v, 3 w, 4 x, 5 y, 6 z"),
            "a is now called v; b is now called w; c is now called x; \
             2 others changed their names"
        );
        assert_eq!(
            update(&mut presence, "2 a, 3 b, 4 c, 5 d, 6 z"),
            "v is now called a; w is now called b; x is now called c; 1 other changed its name"
        );
    }

    #[test]
    fn client_without_a_name_is_reported_when_it_stays() {
        let mut presence = Presence::new(rows(""));
        assert_eq!(update(&mut presence, "2 -, 3 -, 4 -"), "");
        assert_eq!(update(&mut presence, "2 -, 3 carol"), "client 2 and carol joined");
        assert_eq!(update(&mut presence, "2 bob"), "carol left; client 2 is now called bob");
    }
}
