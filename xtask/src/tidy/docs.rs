//! The manual: every page is in its table of contents, and no link leads nowhere.

use anyhow::Result;
use std::path::{Component, Path, PathBuf};

const MANUAL: &str = "docs/src";

pub(super) fn check(files: &[PathBuf], faults: &mut Vec<String>) -> Result<()> {
    let pages = files.iter().filter(|file| file.extension().is_some_and(|e| e == "md"));
    let summary = Path::new(MANUAL).join("SUMMARY.md");
    let listed: Vec<_> = links(&std::fs::read_to_string(&summary)?).map(|l| resolve(&summary, l)).collect();
    for page in pages {
        for link in links(&std::fs::read_to_string(page)?) {
            let target = resolve(page, link);
            if !link.contains("://") && !files.contains(&target) && !target.is_dir() {
                faults.push(format!("{}: a link to {link}, which is not there", page.display()));
            }
        }
        if page.starts_with(MANUAL) && *page != summary && !listed.contains(page) {
            faults.push(format!("{} is not in {}", page.display(), summary.display()));
        }
    }
    Ok(())
}

/// The targets of Markdown links, without their fragments; links inside the page have none.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split_once(')').map(|(target, _)| target));
    targets.map(|target| target.split('#').next().unwrap_or_default()).filter(|target| !target.is_empty())
}

/// Where `link` on `page` leads, from the top directory.
fn resolve(page: &Path, link: &str) -> PathBuf {
    let mut path = page.parent().map(Path::to_path_buf).unwrap_or_default();
    for component in Path::new(link).components() {
        match component {
            Component::ParentDir => drop(path.pop()),
            Component::CurDir => {}
            other => path.push(other),
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_found_and_resolved() {
        let text = "[a](b.md) [c](../d/e.md#f) [g](#h) `x[i](y)`";
        assert_eq!(links(text).collect::<Vec<_>>(), ["b.md", "../d/e.md", "y"]);
        assert_eq!(resolve(Path::new("docs/src/how-to/run.md"), "../d/e.md"), Path::new("docs/src/d/e.md"));
        assert_eq!(resolve(Path::new("README.md"), "docs/a.md"), Path::new("docs/a.md"));
    }
}
