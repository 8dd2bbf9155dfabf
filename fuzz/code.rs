//! Any bytes as the code of an object: no probe may lie inside an instruction that control can reach.
//!
//! The input: how many records follow, how many words of data come last, how many bytes of code each line has; the
//! records, of five bytes each; the code; the data.

use cov_agent::object::{
    AddrRange, CopyKind, DebugOrigin, Fde, FileId, FileOffset, FunctionCopy, Functions, Image, LandingPad, LineTable,
    LinkAddr, Object, ObjectId, Row, Segment, Sequence, SourceFile, Symbol,
};
use cov_agent::plan::{
    Aim, PlanOptions, ProbePlan, Scope, Selection, Stopped, evaluate, evaluate_ways, plan, plan_stopped, still_holds,
};
use iced_x86::{Decoder, DecoderOptions, FlowControl, Mnemonic, OpKind};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Where the code is loaded.
const BASE: u64 = 0x40_1000;
/// More code is not looked at: it would only take time.
const MOST: usize = 1 << 14;
/// How long a plan may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Plans the code in every way; says whether it carries a probe.
pub(crate) fn judge(bytes: &[u8]) -> bool {
    let Some((object, code)) = object(bytes) else { return false };
    let reachable = reachable(code, &object);
    let wanted = |_: &std::path::Path| true;
    let mut probed = false;
    for (scope, aim, freezes) in [
        (Scope::Whole, Aim::Counts, false),
        (Scope::Whole, Aim::Counts, true),
        (Scope::Part, Aim::Counts, false),
        (Scope::Whole, Aim::Hits, false),
    ] {
        let (selection, branches) = (Selection::default(), true);
        let options = PlanOptions { selection, scope, aim, branches, freezes, ..PlanOptions::of(&wanted) };
        let begun = Instant::now();
        let plan = plan(&object, &options);
        check(&plan, code, &reachable);
        probed |= !plan.sites.is_empty();
        let sites = plan.sites.iter();
        let threads = sites.map(|site| Stopped { frames: vec![Some(site.offset)], top: Vec::new(), fault: true });
        let threads: Vec<Stopped> = threads.take(8).collect();
        if (scope, aim, freezes) == (Scope::Whole, Aim::Counts, false) {
            let stopped = plan_stopped(&object, &options, &threads);
            assert!(stopped.sites == plan.sites, "where threads stopped decides where probes are");
            drop(evaluate(&stopped, &vec![1; stopped.slots as usize + threads.len()]));
        }
        assert!(begun.elapsed() < PATIENCE, "planning takes {:?}", begun.elapsed());
    }
    probed
}

fn check(plan: &ProbePlan, code: &[u8], reachable: &BTreeMap<u64, u64>) {
    assert!(still_holds(plan, code), "a site is no instruction of its kind");
    for site in &plan.sites {
        let addr = site.addr.0;
        assert!(addr.checked_sub(BASE) == Some(site.offset.0) && site.offset.0 < code.len() as u64, "{addr:#x}");
        let around = reachable.range(..addr).rev().take(16).find(|(start, len)| *start + *len > addr);
        assert!(around.is_none(), "{addr:#x} lies inside {around:x?}");
    }
    let lines = plan.lines.iter().flat_map(|line| line.count.iter().chain(line.seen.iter().flatten()));
    assert!(lines.into_iter().all(|term| term.slot.0 < plan.slots));
    drop(evaluate(plan, &vec![1; plan.slots as usize]));
    drop(evaluate_ways(plan, &vec![1; plan.slots as usize]));
}

/// Where instructions are that control can reach from where functions begin, and how long they are. Computed jumps are left
/// out, instructions in which another function would begin, and code that nothing says to be of a function.
fn reachable(code: &[u8], object: &Object) -> BTreeMap<u64, u64> {
    let Object { image, functions, .. } = object;
    let mut starts: Vec<u64> = image.symbols.iter().map(|symbol| symbol.range.start.0).collect();
    starts.extend(image.fdes.iter().map(|fde| fde.range.start.0));
    let mut described: Vec<AddrRange> = image.symbols.iter().map(|symbol| symbol.range).collect();
    described.extend(image.fdes.iter().map(|fde| fde.range));
    // Debug info is asked only where there is nothing better.
    let copies = functions.copies.iter().filter(|copy| copy.kind == CopyKind::OutOfLine).flat_map(|copy| &copy.ranges);
    let bare: Vec<AddrRange> = copies.filter(|r| !described.iter().any(|d| d.contains(r.start))).copied().collect();
    described.extend(bare);
    let is_described = |addr: u64| described.iter().any(|range| range.contains(LinkAddr(addr)));
    starts.sort_unstable();
    let mut found = BTreeMap::new();
    let mut open = starts.clone();
    while let Some(addr) = open.pop() {
        let Some(rest) = addr.checked_sub(BASE).and_then(|at| code.get(usize::try_from(at).ok()?..)) else { continue };
        let mut decoder = Decoder::with_ip(64, rest, addr, DecoderOptions::NONE);
        if found.contains_key(&addr) || !decoder.can_decode() {
            continue;
        }
        let insn = decoder.decode();
        let next = starts.partition_point(|start| *start <= addr);
        let whole = (addr..insn.next_ip()).all(is_described);
        if insn.is_invalid() || !whole || starts.get(next).is_some_and(|start| *start < insn.next_ip()) {
            continue;
        }
        found.insert(addr, insn.len() as u64);
        if insn.op_count() > 0 && insn.op0_kind() == OpKind::NearBranch64 {
            open.push(insn.near_branch64());
        }
        let leaves = matches!(
            insn.flow_control(),
            FlowControl::UnconditionalBranch
                | FlowControl::IndirectBranch
                | FlowControl::Return
                | FlowControl::Exception
        );
        if !leaves && insn.mnemonic() != Mnemonic::Hlt {
            open.push(insn.next_ip());
        }
    }
    found
}

/// The object, and its code.
fn object(bytes: &[u8]) -> Option<(Object, &[u8])> {
    let (&[records, words, stride], rest) = bytes.split_first_chunk()?;
    let (records, rest) = rest.split_at_checked(usize::from(records) * 5)?;
    let (code, _) = rest.split_at_checked(rest.len().checked_sub(usize::from(words) * 4)?)?;
    if code.is_empty() || rest.len() > MOST {
        return None;
    }
    let Object { mut image, mut functions, lines, .. } = bare(rest, code.len(), u32::from(stride.max(1)));
    let at = |offset: usize| LinkAddr(BASE + offset.min(rest.len()) as u64);
    let range = |start: usize, len: usize| AddrRange { start: at(start), end: at(start.saturating_add(len)) };
    for record in records.as_chunks::<5>().0 {
        let [kind, low, high, a, b] = *record;
        let start = usize::from(u16::from_le_bytes([low, high])) % code.len();
        let (a, b) = (usize::from(a), usize::from(b));
        let copy = |kind| FunctionCopy {
            name: format!("f{b}").into(),
            decl: Some((FileId(0), u32::from(record[4]) + 1)),
            call: Some((FileId(0), u32::from(record[3]) + 1)),
            artificial: b == 255,
            entry: at(start),
            ranges: vec![range(start, a * 4 + 1)],
            kind,
        };
        match kind % 7 {
            0 => image.symbols.push(Symbol {
                name: if b < 16 { format!("f{b}.cold") } else { format!("f{b}") },
                range: range(start, a * 4),
            }),
            1 => image.fdes.push(Fde {
                range: range(start, a + b * 256 + 1),
                landing_pads: Vec::new(),
                lsda_unreadable: false,
            }),
            2 => {
                let pad = LandingPad { call_site: range(start, a), pad: at((start + b) % code.len()) };
                image.fdes.last_mut()?.landing_pads.push(pad);
            }
            3 => image.relocation_targets.push(at(start)),
            4 => functions.copies.push(copy(CopyKind::OutOfLine)),
            5 => {
                let parent = u32::try_from(functions.copies.len()).ok()?.checked_sub(1)?;
                functions.copies.push(copy(CopyKind::Inlined { parent }));
            }
            _ => image.entries.push(at(start)),
        }
    }
    image.symbols.sort_by_key(|symbol| symbol.range.start);
    image.fdes.sort_by_key(|fde| fde.range.start);
    image.relocation_targets.sort_unstable();
    image.entries.sort_unstable();
    Some((whole(image, lines, functions), code))
}

/// An object of these bytes, of which the first `length` are code with a line for each `stride`; nothing says where
/// functions are.
pub(crate) fn bare(bytes: &[u8], length: usize, stride: u32) -> Object {
    let at = |offset: usize| LinkAddr(BASE + offset as u64);
    let text = AddrRange { start: at(0), end: at(length) };
    let data = AddrRange { start: text.end, end: at(bytes.len()) };
    let segment = |range: AddrRange, executable| Segment {
        range,
        offset: FileOffset(range.start.0 - BASE),
        executable,
        writable: false,
    };
    let image = Image {
        path: PathBuf::from("/nowhere/object"),
        id: ObjectId::BuildId(vec![1]),
        relocatable: false,
        segments: vec![segment(text, true), segment(data, false)],
        code: vec![text],
        entries: Vec::new(),
        symbols: Vec::new(),
        plt: Vec::new(),
        got: Vec::new(),
        fdes: Vec::new(),
        relocation_targets: Vec::new(),
        bytes: Arc::new(bytes.to_vec()),
    };
    let row =
        |(line, at): (u32, u64)| Row { addr: LinkAddr(at), file: FileId(0), line, is_stmt: true, epilogue: false };
    // Code within a line has rows of its own.
    let each = if stride < 16 { 1 } else { stride };
    let places = (text.start.0..text.end.0).step_by(each as usize);
    let line = |at: u64| u32::try_from((at - BASE) / u64::from(stride)).unwrap_or_default() + 1;
    let rows: Vec<Row> = places.map(|at| row((line(at), at))).collect();
    let row_count = u32::try_from(rows.len()).unwrap_or_default();
    let lines = LineTable {
        files: vec![SourceFile { path: PathBuf::from("/nowhere/source.c"), md5: None }],
        rows,
        sequences: vec![Sequence { start: text.start, end: text.end, first_row: 0, row_count }],
    };
    whole(image, lines, Functions::default())
}

fn whole(image: Image, lines: LineTable, functions: Functions) -> Object {
    let (debug, left_out, notes, go_test_name, markers) =
        (DebugOrigin::Embedded, Vec::new(), Vec::new(), None, Vec::new());
    Object { image, lines, functions, debug, left_out, notes, go_test_name, markers }
}
