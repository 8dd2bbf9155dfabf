//! Function names for people.

use cpp_demangle::DemangleOptions;
use std::borrow::Cow;

/// Names longer than this are shown as they are: demangled ones can be exponentially longer.
const MAX_MANGLED: usize = 4096;

/// The demangled name of a Rust (legacy and v0, without the hash) or C++ (Itanium) linkage name;
/// any other name as it is.
///
/// ```
/// use cov_agent::format::demangle::demangle;
/// assert_eq!(demangle("_ZN3foo3barIiEEvT_"), "void foo::bar<int>(int)");
/// assert_eq!(demangle("_ZN4core3fmt5Write9write_fmt17h0123456789abcdefE"), "core::fmt::Write::write_fmt");
/// assert_eq!(demangle("main"), "main");
/// ```
#[must_use]
pub fn demangle(name: &str) -> Cow<'_, str> {
    with(name, &DemangleOptions::new())
}

/// Like [`demangle`], without parameters and what it returns.
///
/// ```
/// use cov_agent::format::demangle::demangle_short;
/// assert_eq!(demangle_short("_ZN3foo3barIiEEvT_"), "foo::bar<int>");
/// ```
#[must_use]
pub fn demangle_short(name: &str) -> Cow<'_, str> {
    with(name, &DemangleOptions::new().no_params().no_return_type())
}

fn with<'a>(name: &'a str, options: &DemangleOptions) -> Cow<'a, str> {
    if name.len() > MAX_MANGLED {
        return Cow::Borrowed(name);
    }
    // Rust's legacy mangling is valid C++ mangling: it must be asked first.
    if let Ok(rust) = rustc_demangle::try_demangle(name) {
        return Cow::Owned(format!("{rust:#}"));
    }
    if !(name.starts_with("_Z") || name.starts_with("___Z")) {
        return Cow::Borrowed(name);
    }
    let cpp = cpp_demangle::Symbol::new(name).ok().and_then(|symbol| symbol.demangle_with_options(options).ok());
    cpp.map_or(Cow::Borrowed(name), Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_each_language() {
        let cases = [
            ("_RNvCs1234_7mycrate3foo", "mycrate::foo"),
            ("_ZNSt6vectorIiSaIiEE9push_backERKi", "std::vector<int, std::allocator<int> >::push_back(int const&)"),
            ("main.main", "main.main"),
            ("_Zgarbage", "_Zgarbage"),
            ("", ""),
        ];
        for (mangled, want) in cases {
            assert_eq!(demangle(mangled), want);
        }
        let long = format!("_Z{}v", "N".repeat(5000));
        assert_eq!(demangle(&long), long);
    }
}
