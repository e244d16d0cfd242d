//! Standard output and standard error, as LVM2 uses them.
//!
//! What must hold:
//! - A result goes to standard output, warnings and errors to standard error; every line begins with two blanks.
//! - `-q` twice silences what is only told; warnings and errors are never silenced, as in LVM2.
//! - A reader that went away (`| head`) is not an error.
//! - A line is out of the process when the call returns.

use std::io::{self, Write};

/// Where messages go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Console {
    quiet: u8,
    verbose: u8,
}

fn put(mut stream: impl Write, text: &str) {
    let done = stream.write_all(text.as_bytes()).and_then(|()| stream.flush());
    // Nobody is left to be told.
    drop(done);
}

/// Every line with two blanks in front; lines that have them already keep them.
fn indented(text: &str) -> String {
    text.lines().flat_map(|line| ["  ", line.strip_prefix("  ").unwrap_or(line), "\n"]).collect()
}

#[expect(clippy::unused_self, reason = "every word goes through the console, also what it cannot silence")]
impl Console {
    /// With the number of `-q` and `-v` given.
    pub(crate) fn new(quiet: u8, verbose: u8) -> Self {
        Self { quiet, verbose }
    }

    /// The same, but it does not tell what was done.
    pub(crate) fn silenced(self) -> Self {
        Self { quiet: 2, ..self }
    }

    /// How many `-v` were given.
    pub(crate) fn verbose(self) -> u8 {
        self.verbose
    }

    /// Whether progress is not wanted.
    pub(crate) fn is_quiet(self) -> bool {
        self.quiet > 0
    }

    /// Tells what was done.
    pub(crate) fn say(self, text: &str) {
        if self.quiet < 2 {
            put(io::stdout().lock(), &indented(text));
        }
    }

    /// The result itself, as it is.
    pub(crate) fn result(self, text: &str) {
        put(io::stdout().lock(), text);
    }

    /// Warns.
    pub(crate) fn warn(self, text: &str) {
        put(io::stderr().lock(), &indented(&format!("WARNING: {text}")));
    }

    /// Says what else may be of interest: with `-v` only.
    pub(crate) fn detail(self, text: &str) {
        if self.verbose > 0 {
            put(io::stderr().lock(), &indented(text));
        }
    }

    /// Says what cannot be silenced.
    pub(crate) fn error(self, text: &str) {
        put(io::stderr().lock(), &indented(text));
    }

    /// Text for standard error as it is.
    pub(crate) fn raw_error(self, text: &str) {
        put(io::stderr().lock(), text);
    }

    /// Asks a question; where nobody answers it is no, as LVM2 has it. What answers may be a pipe.
    pub(crate) fn ask(self, question: &str) -> bool {
        self.ask_whole(&format!("{question} [y/n]:"))
    }

    /// The same for a question that says itself what can be answered.
    pub(crate) fn ask_whole(self, question: &str) -> bool {
        loop {
            put(io::stderr().lock(), &format!("{question} "));
            let mut line = String::new();
            let read = io::stdin().read_line(&mut line);
            let answer = line.trim();
            match answer {
                "y" | "Y" | "yes" | "Yes" | "YES" => return true,
                "n" | "N" | "no" | "No" | "NO" => return false,
                // The end of what there is to read, or an error, ends the asking.
                _ if !read.is_ok_and(|count| count > 0) => {
                    put(io::stderr().lock(), "[n]\n");
                    return false;
                }
                _ => self.warn(&format!("Invalid input '{answer}'.")),
            }
        }
    }
}
