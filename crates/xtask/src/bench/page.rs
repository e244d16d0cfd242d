//! A table's place in README.md: between two marks, everything else untouched.

use anyhow::{Context, Result};

use crate::places;

const PAGE: &str = "README.md";

/// Puts the text between the marks of README.md that have this name.
pub(super) fn write(name: &str, text: &str) -> Result<()> {
    let path = places::root()?.join(PAGE);
    let page = std::fs::read_to_string(&path).with_context(|| format!("reading {PAGE}"))?;
    let page = between(&page, name, text)
        .with_context(|| format!("{PAGE} has no `<!-- {name}:begin -->` with an end behind it"))?;
    std::fs::write(&path, page).with_context(|| format!("writing {PAGE}"))
}

/// The page with this text between its marks; none where they are missing.
fn between(page: &str, name: &str, text: &str) -> Option<String> {
    let (begin, end) = (format!("<!-- {name}:begin -->"), format!("<!-- {name}:end -->"));
    let (before, rest) = page.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{begin}\n{}\n{end}{after}", text.trim()))
}

#[cfg(test)]
mod tests {
    use super::between;

    #[test]
    fn what_was_between_the_marks_is_replaced_and_nothing_else() {
        let page = "head\n<!-- bench:begin -->\nold\n<!-- bench:end -->\ntail\n";
        let wanted = "head\n<!-- bench:begin -->\nnew\n<!-- bench:end -->\ntail\n";
        assert_eq!(between(page, "bench", "new\n\n").as_deref(), Some(wanted));
        assert_eq!(between(wanted, "bench", "new").as_deref(), Some(wanted));
        assert_eq!(between(page, "bench-serve", "new"), None);
        assert_eq!(between("head\n<!-- bench:begin -->\n", "bench", "new"), None);
    }
}
