//! Where test frameworks begin and end a test inside a process: functions known by their symbols, and markers that
//! somebody put into a program.

use super::x86_64::{Flow, decode, is_return};
use crate::object::{AddrRange, FileOffset, Image, LinkAddr, Object};
use std::sync::Arc;

/// A framework whose tests can be told apart from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Framework {
    /// GoogleTest: `testing::TestInfo::Run`.
    GoogleTest,
    /// Rust's libtest: what runs one test, on whichever thread.
    Libtest {
        /// Whether the test is described by the second argument, not the first.
        second: bool,
    },
    /// Go's package testing: `testing.tRunner`, on whichever goroutine.
    GoTest,
    /// Mojo's `std.testing.TestSuite`: the functions that it runs.
    Mojo,
    /// The marker `cov_agent:context`.
    Marker,
}

/// What happens at a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MarkAct {
    /// A test begins, whose name lies where the framework has it.
    Begin {
        /// How far from the beginning of what the framework keeps of a test.
        offset: u16,
    },
    /// A test ends.
    End,
    /// A goroutine makes another.
    Spawn,
    /// It is made.
    Spawned,
    /// A goroutine ends.
    Gone,
}

/// An instruction at which a test begins or ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MarkSite {
    /// Its link address.
    pub addr: LinkAddr,
    /// Its place in the file.
    pub offset: FileOffset,
    /// Whose it is.
    pub framework: Framework,
    /// What happens there.
    pub act: MarkAct,
    /// The test's name, where the place tells it.
    pub name: Option<Arc<str>>,
}

/// How the functions that run one test of libtest are called, in the versions of the standard library. Of the closures
/// with one name, the outer ones know no name.
const LIBTEST: [&str; 4] = [
    "test::run_test_in_process",
    "test::run_test::{closure#0}",
    "test::run_test::{{closure}}",
    "test::run_test::run_test_inner::{{closure}}",
];

/// The marks of a program or library.
#[must_use]
pub fn marks(object: &Object) -> Vec<MarkSite> {
    let Object { image, markers, go_test_name: go_name, .. } = object;
    let go_name = *go_name;
    let mut marks = Marks { image, sites: Vec::new() };
    let mojo = image.symbols.iter().any(|symbol| symbol.name.contains("std::testing::suite::TestSuite"));
    for symbol in &image.symbols {
        match symbol.name.as_str() {
            // The strings of another library lie otherwise.
            "_ZN7testing8TestInfo3RunEv" if !image.symbols.iter().any(|s| s.name.contains("NSt3__1")) => {
                marks.function(symbol.range, Framework::GoogleTest, MarkAct::Begin { offset: 0 }, Some(MarkAct::End));
            }
            "testing.tRunner" => {
                if let Some(offset) = go_name {
                    marks.function(symbol.range, Framework::GoTest, MarkAct::Begin { offset }, Some(MarkAct::End));
                }
            }
            "runtime.newproc1" if go_name.is_some() => {
                marks.function(symbol.range, Framework::GoTest, MarkAct::Spawn, Some(MarkAct::Spawned));
            }
            "runtime.goexit0" if go_name.is_some() => {
                marks.function(symbol.range, Framework::GoTest, MarkAct::Gone, None);
            }
            name if name.starts_with("_RN") && name.contains("_4test8run_test") || name.starts_with("_ZN4test") => {
                let name = format!("{:#}", rustc_demangle::demangle(name));
                if LIBTEST.contains(&name.as_str()) {
                    let framework = Framework::Libtest { second: name.ends_with("in_process") };
                    marks.function(symbol.range, framework, MarkAct::Begin { offset: 0 }, Some(MarkAct::End));
                }
            }
            name if mojo => {
                if let Some(name) = mojo_test(name) {
                    let begin = marks.sites.len();
                    marks.function(symbol.range, Framework::Mojo, MarkAct::Begin { offset: 0 }, Some(MarkAct::End));
                    marks.sites.iter_mut().skip(begin).for_each(|site| site.name = Some(name.into()));
                }
            }
            _ => {}
        }
    }
    for marker in markers {
        // Where else the name might lie, the header does not put it.
        if (marker.provider.as_str(), marker.name.as_str(), marker.arguments.as_str())
            == ("cov_agent", "context", "8@%rdi")
        {
            marks.add(marker.addr, Framework::Marker, MarkAct::Begin { offset: 0 });
        }
    }
    let mut sites = marks.sites;
    sites.sort_unstable_by_key(|site| site.addr);
    sites.dedup_by_key(|site| site.addr);
    sites
}

/// The test that a symbol of Mojo's is: `module::test_name()`.
fn mojo_test(symbol: &str) -> Option<&str> {
    let name = symbol.strip_suffix("()")?;
    let plain = name.split("::").all(|part| part.chars().all(|c| c == '_' || c.is_alphanumeric()));
    let (_, function) = name.rsplit_once("::")?;
    (plain && function.starts_with("test_")).then_some(name)
}

struct Marks<'a> {
    image: &'a Image,
    sites: Vec<MarkSite>,
}

impl Marks<'_> {
    /// A mark at the beginning of a function, and where it returns; none where its returns are not known.
    fn function(&mut self, range: AddrRange, framework: Framework, begin: MarkAct, end: Option<MarkAct>) {
        let ends = end.map(|_| returns(self.image, range)).unwrap_or_default();
        if end.is_some() && ends.is_empty() {
            return;
        }
        self.add(range.start, framework, begin);
        for (addr, act) in ends.into_iter().filter_map(|addr| Some((addr, end?))) {
            self.add(addr, framework, act);
        }
    }

    fn add(&mut self, addr: LinkAddr, framework: Framework, act: MarkAct) {
        let probed =
            self.image.bytes_from(addr).and_then(|bytes| decode(bytes, addr.0)).is_some_and(|(i, _)| i.probe.is_some());
        if let Some(offset) = self.image.file_offset(addr).filter(|_| probed && self.image.is_code(addr)) {
            self.sites.push(MarkSite { addr, offset, framework, act, name: None });
        }
    }
}

/// Where the function returns. Compilers put no tables into functions of the kinds looked for here; where decoding
/// fails nevertheless, nothing is known.
fn returns(image: &Image, range: AddrRange) -> Vec<LinkAddr> {
    let Some(mut bytes) = image.bytes_of(range) else { return Vec::new() };
    let mut returns = Vec::new();
    let mut addr = range.start.0;
    while !bytes.is_empty() {
        let Some((insn, _)) = decode(bytes, addr) else { return Vec::new() };
        let (raw, rest) = bytes.split_at(usize::from(insn.len).min(bytes.len()));
        if insn.flow == Flow::Stop && is_return(raw) {
            returns.push(LinkAddr(addr));
        }
        addr = insn.end();
        bytes = rest;
    }
    returns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_in_mojo_are_told_from_what_deals_with_them() {
        assert_eq!(mojo_test("t::test_a()"), Some("t::test_a"));
        assert_eq!(mojo_test("pkg::t::test_größe()"), Some("pkg::t::test_größe"));
        for other in ["t::twice(::SIMD[DType.int, 1])", "t::a_test()", "std::testing::f[x](),f=t::test_a()", "test_a()"]
        {
            assert_eq!(mojo_test(other), None, "{other}");
        }
    }
}
