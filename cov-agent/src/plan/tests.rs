//! Any bytes as code.

use super::{Aim, PlanOptions, Scope, Term, plan};
use crate::object::{Bytes, DebugSearch, parse};
use iced_x86::{Decoder, DecoderOptions, FlowControl, OpKind};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// How many bytes of code the program has to be overwritten, in two functions.
const CODE: usize = 512;

/// A program whose functions `first` and `second` have a row at every byte; where they begin, in the file and as an address.
fn program() -> &'static (Vec<u8>, usize, u64) {
    static PROGRAM: OnceLock<(Vec<u8>, usize, u64)> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let half = |name: &str| {
            let rows: String = (1..=CODE / 2).map(|line| format!(".loc 1 {line}\n.byte 0x90\n")).collect();
            format!(".globl {name}\n.type {name}, @function\n{name}:\n.cfi_startproc\n{rows}.cfi_endproc\n.size {name}, .-{name}\n")
        };
        let source = format!(".file 1 \"noise.c\"\n.text\n{}{}", half("first"), half("second"));
        std::fs::write(dir.path().join("noise.s"), source).unwrap();
        let flags = ["-nostdlib", "-static", "-g", "-Wl,-e,first", "-o", "noise", "noise.s"];
        assert!(Command::new("gcc").args(flags).current_dir(dir.path()).status().unwrap().success());
        let bytes = std::fs::read(dir.path().join("noise")).unwrap();
        let object = parse(Path::new("noise"), &(Arc::new(bytes.clone()) as Bytes), &DebugSearch::default(), &|_| true);
        let image = object.unwrap().image;
        let first = image.symbols.iter().find(|s| s.name == "first").unwrap().range.start;
        let offset = usize::try_from(image.file_offset(first).unwrap().0).unwrap();
        (bytes, offset, first.0)
    })
}

/// Where instructions are that control can reach from `starts`, and how long they are; computed jumps left out.
fn reachable(code: &[u8], at: u64, starts: [u64; 2]) -> BTreeMap<u64, u64> {
    let mut found = BTreeMap::new();
    let mut open = starts.to_vec();
    while let Some(addr) = open.pop() {
        let Some(from) = addr.checked_sub(at).and_then(|n| usize::try_from(n).ok()) else { continue };
        // An instruction that does not end within its function would overlap the start of another, which is known.
        let end = if from < CODE / 2 { CODE / 2 } else { CODE };
        let Some(rest) = code.get(from..end) else { continue };
        let mut decoder = Decoder::with_ip(64, rest, addr, DecoderOptions::NONE);
        if found.contains_key(&addr) || !decoder.can_decode() {
            continue;
        }
        let insn = decoder.decode();
        if insn.is_invalid() {
            continue;
        }
        found.insert(addr, insn.len() as u64);
        if insn.op_count() > 0 && insn.op0_kind() == OpKind::NearBranch64 {
            open.push(insn.near_branch64());
        }
        let goes_on = !matches!(
            insn.flow_control(),
            FlowControl::UnconditionalBranch
                | FlowControl::IndirectBranch
                | FlowControl::Return
                | FlowControl::Exception
        );
        if goes_on && insn.mnemonic() != iced_x86::Mnemonic::Hlt {
            open.push(insn.next_ip());
        }
    }
    found
}

/// Bytes that often are instructions which matter: jumps, calls, loads of addresses and reads of tables.
fn code() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 1..8),
        2 => any::<[u8; 2]>().prop_map(|[c, to]| vec![0x70 | (c & 15), to]),
        1 => any::<u8>().prop_map(|to| vec![0xeb, to]),
        1 => any::<u8>().prop_map(|to| vec![0xe8, to, 0, 0, 0]),
        2 => any::<u8>().prop_map(|to| vec![0x48, 0x8d, 0x05, to, 0, 0, 0]), // lea to(%rip),%rax
        1 => Just(vec![0x48, 0x63, 0x14, 0xb8, 0x48, 0x01, 0xd0, 0xff, 0xe0]), // movslq (%rax,%rdi,4),%rdx; add %rdx,%rax; jmp *%rax
        1 => any::<[u8; 2]>().prop_map(|[a, b]| vec![a, 0, 0, 0, b, 0, 0, 0]), // a table
        3 => Just(vec![0x90]),
    ];
    prop::collection::vec(piece, 40..240).prop_map(|pieces| {
        let mut code = pieces.concat();
        code.resize(CODE, 0xc3);
        code
    })
}

proptest! {
    #[test]
    fn no_probe_lies_inside_an_instruction(code in code()) {
        let (bytes, offset, at) = program();
        let mut bytes = bytes.clone();
        bytes[*offset..offset + CODE].copy_from_slice(&code);
        let object = parse(Path::new("noise"), &(Arc::new(bytes) as Bytes), &DebugSearch::default(), &|_| true).unwrap();
        let reachable = reachable(&code, *at, [*at, at + CODE as u64 / 2]);
        let whole = |aim, goes| (Scope::Whole, aim, goes);
        let part = (Scope::Part, Aim::Counts, false);
        for (scope, aim, goes) in [whole(Aim::Counts, false), part, whole(Aim::Hits, false), whole(Aim::Hits, true)] {
            let began = Instant::now();
            let plan = plan(&object, &PlanOptions { scope, aim, goes, branches: true, freezes: true, ..PlanOptions::of(&|_| true) });
            prop_assert!(began.elapsed() < Duration::from_secs(5));
            for site in &plan.sites {
                let addr = site.addr.0;
                prop_assert!((*at..at + CODE as u64).contains(&addr), "{addr:x} is not in the code");
                let around = reachable.range(..addr).rev().take(16).find(|(start, len)| *start + *len > addr);
                prop_assert!(around.is_none(), "{addr:x} lies inside {around:x?}");
            }
            for line in &plan.lines {
                let used = line.count.iter().chain(line.seen.iter().flatten());
                prop_assert!(used.into_iter().all(|term| term.slot.0 < plan.slots), "{line:?}");
                prop_assert!(aim == Aim::Counts || line.count.is_empty());
                let adds = |term: &Term| term.coefficient == 1;
                prop_assert!(aim == Aim::Counts || line.seen.iter().flatten().all(adds), "{line:?}");
            }
        }
    }
}
