//! What is printed: numbered steps with facts below them, in colour only where a person looks.

use std::{
    cell::Cell,
    io::{self, IsTerminal as _, Write as _},
};

/// Standard output as this program uses it.
pub(crate) struct Screen {
    colours: bool,
    steps: Cell<u32>,
}

impl Screen {
    pub(crate) fn new() -> Self {
        Self { colours: io::stdout().is_terminal(), steps: Cell::new(0) }
    }

    /// Begins the next step.
    pub(crate) fn step(&self, title: &str) {
        let number = self.steps.get() + 1;
        self.steps.set(number);
        let gap = if number == 1 { "" } else { "\n" };
        print(&format!("{gap}{}", self.painted("1", &format!("{number}. {title}"))));
    }

    /// Something that was found out.
    pub(crate) fn fact(&self, what: &str, value: &str) {
        print(&format!("   {} {value}", self.painted("2", &format!("{what:<14}"))));
    }

    /// Text as it is.
    pub(crate) fn text(&self, text: &str) {
        print(text);
    }

    /// The last word.
    pub(crate) fn done(&self, text: &str) {
        print(&format!("\n{}", self.painted("32", text)));
    }

    /// What went wrong, with its causes, on standard error.
    pub(crate) fn error(&self, error: &anyhow::Error) {
        let causes: String = error.chain().skip(1).map(|cause| format!("\n  because: {cause}")).collect();
        // Nothing can be done about a standard error that is closed.
        let _ = writeln!(io::stderr(), "\nerror: {error}{causes}");
    }

    fn painted(&self, code: &str, text: &str) -> String {
        if self.colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

fn print(line: &str) {
    // A reader that has seen enough does not change what is demonstrated.
    let _ = writeln!(io::stdout(), "{line}");
}
