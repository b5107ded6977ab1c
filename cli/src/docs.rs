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
const PAGES: [Page; 18] = [
    Page { name: "readme", subject: "installing, the first example", text: include_str!("../../README.md") },
    page!("guide", "names, files and stores; many writers; old versions; import and export; this tool"),
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

/// Returns the section of a page with this anchor, up to the next heading of the same or a higher level.
fn section<'a>(text: &'a str, wanted: &str) -> Option<Vec<&'a str>> {
    let mut lines =
        leveled(text).skip_while(|(level, line)| *level == 0 || anchor(&line[*level..]) != wanted);
    let (top, heading) = lines.next()?;
    let rest = lines.take_while(|(level, _)| *level == 0 || *level > top).map(|(_, line)| line);
    Some([heading].into_iter().chain(rest).collect())
}

/// Returns the page with a name as it is used in messages and links: `guide`, `guide.md`, `docs/guide.md`.
fn found(name: &str) -> Option<&'static Page> {
    let name = name.trim_start_matches("docs/").trim_end_matches(".md").to_lowercase();
    PAGES.iter().find(|page| page.name == name)
}

/// Shows a page, or a section of a page (`guide#old-versions`). Without a name, lists all pages.
pub fn run(name: Option<&str>) -> Result<(), Failure> {
    let Some(name) = name else {
        print(PAGES.iter().map(|page| format!("{:<16} {}", page.name, page.subject)))?;
        return Ok(());
    };
    let (page, heading) = name.split_once('#').unwrap_or((name, ""));
    let page = found(page).ok_or_else(|| format!("no page is called '{page}'; 'h5lake docs' lists all"))?;
    let mut out = Sink::new(false);
    if heading.is_empty() {
        out.text(page.text)?;
    } else {
        let none = || format!("the page {} has no heading '{heading}'", page.name);
        for line in section(page.text, heading).ok_or_else(none)? {
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
        for name in ["guide", "guide.md", "docs/guide.md", "GUIDE"] {
            assert_eq!(found(name).map(|page| page.name), Some("guide"), "{name}");
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
