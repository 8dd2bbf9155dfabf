//! Percentages that never round to 0 or 100 falsely.

/// The percentage that `covered` is of `total`; of nothing, everything is covered (as coverage.py
/// has it).
#[must_use]
pub fn percent(covered: usize, total: usize) -> f64 {
    if total == 0 { 100.0 } else { 100.0 * covered as f64 / total as f64 }
}

/// The percentage with `precision` digits after the point. "0" means none and "100" all: what
/// lies between is shown at least one last digit away from them (`display_covered` of coverage.py).
///
/// ```
/// use cov_agent::coverage::percent::display;
/// assert_eq!(display(1, 1_000_000, 0), "1");
/// assert_eq!(display(999_999, 1_000_000, 2), "99.99");
/// assert_eq!(display(2, 3, 1), "66.7");
/// ```
#[must_use]
pub fn display(covered: usize, total: usize, precision: usize) -> String {
    let near0 = 10f64.powi(-i32::try_from(precision).unwrap_or(0));
    let exact = percent(covered, total);
    let shown = if 0.0 < exact && exact < near0 {
        near0
    } else if 100.0 - near0 < exact && exact < 100.0 {
        100.0 - near0
    } else {
        exact
    };
    format!("{shown:.precision$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_none_is_0_and_only_all_is_100() {
        let cases = [
            ((0, 10), 0, "0"),
            ((10, 10), 0, "100"),
            ((0, 0), 0, "100"),
            ((1, 1000), 0, "1"),
            ((999, 1000), 0, "99"),
            ((1, 10_000_000), 1, "0.1"),
            ((9_999_999, 10_000_000), 1, "99.9"),
            ((1, 8), 1, "12.5"),
            ((1, 2), 3, "50.000"),
        ];
        for ((covered, total), precision, want) in cases {
            assert_eq!(display(covered, total, precision), want, "{covered}/{total}");
        }
    }
}
