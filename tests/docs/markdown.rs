//! Parses the parts of Markdown that the tests need: headings, code blocks and tables.

use std::fs;
use std::path::Path;

/// A Markdown file in the repository.
pub struct Document {
    /// The path, relative to the repository root.
    pub path: &'static str,
    pub text: String,
}

/// A heading and the code blocks below it.
pub struct Section {
    pub heading: String,
    pub blocks: Vec<Block>,
}

/// A fenced code block.
pub struct Block {
    /// The line number of the opening fence, counted from 1.
    pub line: usize,
    pub kind: Kind,
    pub lines: Vec<String>,
}

/// The kind of a code block, from the marker after its opening fence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `sh`
    Shell,
    /// `sh two terminals`: two terminals side by side.
    TwoTerminals,
    /// `sh norun REASON`
    Skipped(String),
    /// `text`: not a shell example.
    Text,
}

impl Kind {
    /// Returns whether blocks of this kind are executed.
    pub fn is_run(&self) -> bool {
        matches!(self, Self::Shell | Self::TwoTerminals)
    }

    fn parse(marker: &str) -> Option<Self> {
        match marker {
            "sh" => Some(Self::Shell),
            "sh two terminals" => Some(Self::TwoTerminals),
            "text" => Some(Self::Text),
            other => {
                let reason = other.strip_prefix("sh norun ")?.trim();
                (!reason.is_empty()).then(|| Self::Skipped(reason.to_owned()))
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

    /// Returns the sections with their code blocks. Panics on an unknown marker.
    pub fn sections(&self) -> Vec<Section> {
        let mut sections = vec![Section { heading: String::new(), blocks: vec![] }];
        let mut is_in_block = false;
        for (index, line) in self.text.lines().enumerate() {
            let last = sections.last_mut().expect("the first section has no heading");
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
                    last.blocks
                        .last_mut()
                        .expect("the opening fence adds a block")
                        .lines
                        .push(line.to_owned());
                }
                (None, false) if line.starts_with('#') => {
                    let heading = line.trim_start_matches('#').trim().to_owned();
                    sections.push(Section { heading, blocks: vec![] });
                }
                (None, false) => {}
            }
        }
        assert!(!is_in_block, "{}: the last code block has no closing fence", self.path);
        sections
    }

    /// Returns the cells of the table after a mark, row by row, without the header.
    pub fn table(&self, mark: &str) -> Vec<Vec<String>> {
        let (_, table) =
            self.text.split_once(mark).unwrap_or_else(|| panic!("{} has no {mark}", self.path));
        let rows = table.trim_start().lines().take_while(|line| line.starts_with('|')).skip(2);
        rows.map(|row| {
            row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
        })
        .collect()
    }
}
