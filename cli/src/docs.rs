//! `h5lake docs`: shows the pages for users. The tool contains them, because a wheel and `cargo install` install no other files of the
//! project.

use crate::Failure;
use crate::output::{Sink, print};

/// A page with its name, its subject, and its text in Markdown.
struct Page {
    name: &'static str,
    subject: &'static str,
    text: &'static str,
}

/// Makes a page from a file in the docs folder.
macro_rules! page {
    ($name:literal, $subject:literal) => {
        Page { name: $name, subject: $subject, text: include_str!(concat!("../../docs/", $name, ".md")) }
    };
}

/// All pages, in the order in which the README lists them.
const PAGES: [Page; 24] = [
    Page { name: "readme", subject: "installing, the first example", text: include_str!("../../README.md") },
    page!("names", "names, stores and pointer files; which files are containers; mode w"),
    page!("writers", "readers beside writers; many writers, MPI, staged writes, event sets"),
    page!("versions", "old versions, history, messages, tags, branches, copies"),
    page!("transfer", "import and export; containers that refer to native files"),
    page!("filters", "built-in filters, and filters that need their plugin"),
    page!("from-python", "the Python module; reading in parallel"),
    page!("command-line", "lists, values, differences, searches and exit codes of this tool"),
    page!("settings", "every setting and its environment variable"),
    page!("zarr", "zarr-python, xarray, Dask and Icechunk read published containers without HDF5"),
    page!("many-machines", "workers of Dask, Ray, Spark and Slurm write one container"),
    page!("hpc", "MPI programs under Slurm and on large machines"),
    page!("clients", "what to do for h5py, PyTables, netCDF4, xarray, pandas and other clients"),
    page!("limitations", "what works, and what does not yet"),
    page!("troubleshooting", "the program does not use the plugin; the log and the statistics"),
    page!("errors", "each error message: its cause, and what to do"),
    page!("reliability", "what each call promises"),
    page!("security", "what a file from a stranger can do, and what not"),
    page!("verify", "checking and repairing containers"),
    page!("backends", "stores, credentials, errors and time limits"),
    page!("store-libraries", "a store of your own: a library with a C interface, or a server"),
    page!("store-protocol", "the HTTP protocol of such a server"),
    page!("dataclay", "containers in dataClay, and filters in its backend"),
    page!("glossary", "the terms of h5lake, of HDF5, and of storage engines"),
];

/// Returns the anchor of a heading as it is used in links: lower case, hyphens for blanks, and no other punctuation.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// Returns the lines of a page, each with its level if it is a heading, otherwise with 0.
fn leveled(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut is_code = false;
    text.lines().map(move |line| {
        is_code ^= line.starts_with("```");
        let level = line.bytes().take_while(|byte| *byte == b'#').count();
        (if is_code || !line[level..].starts_with(' ') { 0 } else { level }, line)
    })
}

/// Returns a page without the HTML comments that begin on lines of their own: they are for the test that runs the examples.
fn without_comments(text: &str) -> String {
    let (mut shown, mut is_code, mut is_comment) = (String::with_capacity(text.len()), false, false);
    for line in text.lines() {
        is_code ^= !is_comment && line.starts_with("```");
        let begins = !is_code && line.starts_with("<!--");
        if begins || is_comment {
            is_comment = !line.contains("-->");
        } else if !(line.is_empty() && shown.ends_with("\n\n") && !is_code) {
            shown.push_str(line);
            shown.push('\n');
        }
    }
    shown
}

/// Returns the section of a page with this anchor, up to the next heading of the same or a higher level.
fn section<'a>(text: &'a str, wanted: &str) -> Option<Vec<&'a str>> {
    let mut lines =
        leveled(text).skip_while(|(level, line)| *level == 0 || anchor(&line[*level..]) != wanted);
    let (top, heading) = lines.next()?;
    let body = lines.take_while(|(level, _)| *level == 0 || *level > top).map(|(_, line)| line);
    Some([heading].into_iter().chain(body).collect())
}

/// Returns the page with a name as it is used in messages and links: `versions`, `versions.md`, `docs/versions.md`.
fn found(name: &str) -> Option<&'static Page> {
    let name = name.trim_start_matches("docs/").trim_end_matches(".md").to_lowercase();
    PAGES.iter().find(|page| page.name == name)
}

/// Shows a page, or a section of a page (`versions#tags`). Without a name, lists all pages.
pub fn run(name: Option<&str>) -> Result<(), Failure> {
    let Some(name) = name else {
        print(PAGES.iter().map(|page| format!("{:<16} {}", page.name, page.subject)))?;
        return Ok(());
    };
    let (page, heading) = name.split_once('#').unwrap_or((name, ""));
    let page = found(page).ok_or_else(|| format!("no page is called '{page}'; 'h5lake docs' lists all"))?;
    let (text, mut out) = (without_comments(page.text), Sink::new(false));
    if heading.is_empty() {
        out.text(&text)?;
    } else {
        let none = || format!("the page {} has no heading '{heading}'", page.name);
        for line in section(&text, heading).ok_or_else(none)? {
            out.line(line)?;
        }
    }
    out.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_found_by_the_names_that_links_have() {
        for name in ["versions", "versions.md", "docs/versions.md", "VERSIONS"] {
            assert_eq!(found(name).map(|page| page.name), Some("versions"), "{name}");
        }
        assert!(found("nothing").is_none());
    }

    #[test]
    fn a_section_ends_at_the_next_heading_of_its_level() {
        let text = "# A\n\n## Parts & more\none\n```sh\n# no heading\n```\n### Deeper\ntwo\n## Next\nthree";
        let lines = ["## Parts & more", "one", "```sh", "# no heading", "```", "### Deeper", "two"];
        assert_eq!(section(text, "parts--more").unwrap(), lines);
        assert_eq!(section(text, "next").unwrap(), ["## Next", "three"]);
        assert_eq!(section(text, "no-heading"), None);
    }

    #[test]
    fn comments_outside_of_code_are_left_out() {
        let text = "# A\n\n<!-- setup\n# no heading\n```\n-->\n\n<!-- not run: a reason -->\n```sh\n<!-- code -->\n\n\nls\n```\none <!-- two\n";
        assert_eq!(without_comments(text), "# A\n\n```sh\n<!-- code -->\n\n\nls\n```\none <!-- two\n");
        for page in &PAGES {
            let shown = without_comments(page.text);
            assert!(
                shown.starts_with("# ") && !shown.contains("\n<!--") && shown.ends_with('\n'),
                "{}",
                page.name
            );
        }
    }

    /// Each link between pages leads to an existing section.
    #[test]
    fn every_page_has_a_heading_and_links_lead_to_sections() {
        for page in &PAGES {
            assert!(page.text.starts_with("# "), "{}", page.name);
            for (_, rest) in page.text.match_indices("](").map(|(at, _)| page.text.split_at(at + 2)) {
                let link = rest.split(')').next().unwrap_or_default();
                let Some((target, heading)) = link.split_once('#').filter(|_| !link.contains("//")) else {
                    continue;
                };
                let target = if target.is_empty() { Some(page) } else { found(target) };
                if let Some(target) = target {
                    assert!(section(target.text, heading).is_some(), "{}: {link}", page.name);
                }
            }
        }
    }
}
