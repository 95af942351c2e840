//! What does not hold yet, or never will, by name: tables of `docs/posix.md`.
//!
//! The document is what a reader trusts, so the tests read it: a name that is listed and passes is a fault as much as
//! one that fails and is not listed.

use std::collections::BTreeSet;

/// The document.
const DOCUMENT: &str = include_str!("../../../docs/posix.md");

/// The names in the first column of the table below the heading `## Exceptions: <suite>`, written in backticks.
pub fn exceptions(suite: &str) -> BTreeSet<String> {
    listed(DOCUMENT, suite)
}

fn listed(document: &str, suite: &str) -> BTreeSet<String> {
    let heading = format!("## Exceptions: {suite}");
    let section = document.lines().skip_while(|line| *line != heading).skip(1);
    let rows = section.take_while(|line| !line.starts_with("## ")).filter(|line| line.starts_with("| `"));
    rows.filter_map(|row| row.split('`').nth(1).map(str::to_owned)).collect()
}

/// How what failed differs from what is listed; empty when it does not.
pub fn differences(listed: &BTreeSet<String>, failed: &BTreeSet<String>) -> Vec<String> {
    let surprises = failed.difference(listed).map(|name| format!("{name} failed"));
    let passed = listed.difference(failed).map(|name| format!("{name} is listed as an exception and passed"));
    surprises.chain(passed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> BTreeSet<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn tables_are_read_by_their_heading() {
        let document = "## Exceptions: one\n\ntext\n\n| case | why |\n| --- | --- |\n| `a::b` | `x` |\n| `c` | y |\n\
                        ## Exceptions: two\n| `d` | z |\n";
        assert_eq!(listed(document, "one"), names(&["a::b", "c"]));
        assert_eq!(listed(document, "two"), names(&["d"]));
        assert_eq!(listed(document, "three"), names(&[]));
    }

    #[test]
    fn both_a_surprise_and_a_stale_exception_are_told() {
        assert_eq!(differences(&names(&["a"]), &names(&["a"])), Vec::<String>::new());
        assert_eq!(differences(&names(&[]), &names(&["b"])), ["b failed"]);
        assert_eq!(differences(&names(&["a"]), &names(&[])), ["a is listed as an exception and passed"]);
    }
}
