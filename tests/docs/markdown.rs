//! What the tests read in a Markdown file: its blocks of code, and its tables.

use std::fs;
use std::path::Path;

/// A Markdown file of the repository.
pub struct Document {
    /// Its path from the root of the repository.
    pub path: &'static str,
    pub text: String,
}

/// What stands under one heading.
pub struct Section {
    pub heading: String,
    pub blocks: Vec<Block>,
}

/// A fenced block of code.
pub struct Block {
    /// The line of its opening fence, counted from 1.
    pub line: usize,
    pub kind: Kind,
    pub lines: Vec<String>,
}

/// What the word behind a block's fence says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `sh`
    Shell,
    /// `sh two terminals`, side by side.
    TwoTerminals,
    /// `sh norun REASON`
    NotRun(String),
    /// `text`, for people only.
    Text,
}

impl Kind {
    fn parse(marker: &str) -> Option<Self> {
        match marker {
            "sh" => Some(Self::Shell),
            "sh two terminals" => Some(Self::TwoTerminals),
            "text" => Some(Self::Text),
            other => {
                let reason = other.strip_prefix("sh norun ")?.trim();
                (!reason.is_empty()).then(|| Self::NotRun(reason.to_owned()))
            }
        }
    }
}

impl Document {
    pub fn read(path: &'static str) -> Self {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{path}: {error}"));
        Self { path, text }
    }

    /// The sections, with their blocks of code. Panics at a marker that it does not know.
    pub fn sections(&self) -> Vec<Section> {
        let mut sections = vec![Section { heading: String::new(), blocks: vec![] }];
        let mut is_in_block = false;
        for (index, line) in self.text.lines().enumerate() {
            let last = sections.last_mut().expect("there is always one");
            let marker = line.trim_start().strip_prefix("```");
            match (marker, is_in_block) {
                (Some(marker), false) => {
                    let place = format!("{}:{}", self.path, index + 1);
                    let kind = Kind::parse(marker.trim())
                        .unwrap_or_else(|| panic!("{place}: unknown marker {marker:?}"));
                    last.blocks.push(Block { line: index + 1, kind, lines: vec![] });
                    is_in_block = true;
                }
                (Some(_), true) => is_in_block = false,
                (None, true) => {
                    last.blocks.last_mut().expect("it is open").lines.push(line.to_owned());
                }
                (None, false) if line.starts_with('#') => {
                    let heading = line.trim_start_matches('#').trim().to_owned();
                    sections.push(Section { heading, blocks: vec![] });
                }
                (None, false) => {}
            }
        }
        assert!(!is_in_block, "{}: the last block of code has no end", self.path);
        sections
    }

    /// The rows of the table behind a mark, cell by cell, without its head.
    pub fn table(&self, mark: &str) -> Vec<Vec<String>> {
        let (_, table) = self.text.split_once(mark).unwrap_or_else(|| panic!("no {mark}"));
        let rows = table.trim_start().lines().take_while(|line| line.starts_with('|')).skip(2);
        rows.map(|row| {
            row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
        })
        .collect()
    }
}
