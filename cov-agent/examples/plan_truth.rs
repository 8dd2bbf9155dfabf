//! Evaluates a plan with the instruction counts that callgrind took.
use cov_agent::object::{self, DebugSearch};
use cov_agent::plan::{self, Instruction, Observe, PlanOptions};
use std::collections::HashMap;
use std::path::Path;
use std::time::Instant;

#[derive(Default)]
struct Truth {
    insns: HashMap<u64, u64>,
    jumps: HashMap<u64, (u64, u64)>,
}

fn callgrind(text: &str, object: &str) -> Truth {
    let mut t = Truth::default();
    let mut here = false;
    let mut skip = false;
    let mut jump: Option<(u64, u64)> = None;
    for l in text.lines() {
        if let Some(ob) = l.strip_prefix("ob=") {
            here = ob.ends_with(object);
            continue;
        }
        if !here {
            continue;
        }
        if l.starts_with("calls=") {
            skip = true;
            continue;
        }
        if let Some(r) = l.strip_prefix("jcnd=") {
            let (a, b) = r.split(' ').next().unwrap().split_once('/').unwrap();
            jump = Some((a.parse().unwrap(), b.parse().unwrap()));
            continue;
        }
        if l.starts_with("jump=") {
            jump = Some((0, 0));
            continue;
        }
        if !l.starts_with("0x") {
            continue;
        }
        let mut p = l.split(' ');
        let addr = u64::from_str_radix(&p.next().unwrap()[2..], 16).unwrap();
        if let Some((a, b)) = jump.take() {
            let e = t.jumps.entry(addr).or_default();
            e.0 += a;
            e.1 += b;
            continue;
        }
        if std::mem::take(&mut skip) {
            continue;
        }
        let n: u64 = p.nth(1).unwrap_or("0").parse().unwrap();
        *t.insns.entry(addr).or_default() += n;
    }
    t
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let (path, filter) = (&args[1], &args[2]);
    let wanted = |p: &Path| p.to_string_lossy().contains(filter.as_str());
    let t0 = Instant::now();
    let object = object::open(Path::new(path), &DebugSearch::default(), &wanted).unwrap();
    let t1 = Instant::now();
    let plan = plan::plan(&object, &PlanOptions { wanted: &wanted });
    let t2 = Instant::now();
    let emu = plan.sites.iter().filter(|s| s.instruction == Instruction::Emulated).count();
    let neg = plan.lines.iter().filter(|l| l.count.iter().any(|t| t.coefficient < 0)).count();
    let inexact = plan.lines.iter().filter(|l| !l.exact).count();
    eprintln!(
        "open {:?} plan {:?}: rows {} sites {} emulated {} slots {} lines {} functions {} unmeasurable {} negative {} inexact {}",
        t1 - t0,
        t2 - t1,
        object.lines.rows.iter().filter(|r| r.is_stmt).count(),
        plan.sites.len(),
        emu,
        plan.slots,
        plan.lines.len(),
        plan.functions.len(),
        plan.unmeasurable.len(),
        neg,
        inexact
    );
    for u in &plan.unmeasurable {
        if args.len() > 4 {
            eprintln!("UNM {}:{} {}", plan.files[u.file.0 as usize].path.display(), u.line, u.reason);
        }
    }
    if args.len() > 3 {
        let truth = callgrind(
            &std::fs::read_to_string(&args[3]).unwrap(),
            Path::new(path).file_name().unwrap().to_str().unwrap(),
        );
        let mut counters = vec![0; plan.slots as usize];
        for s in &plan.sites {
            let n = truth.insns.get(&s.addr.0).copied().unwrap_or(0);
            match s.observe {
                Observe::Count { slot } => counters[slot.0 as usize] = n,
                Observe::Branch { taken, .. } => {
                    let (a, b) = truth.jumps.get(&s.addr.0).copied().unwrap_or((0, 0));
                    if b != n && args.len() > 4 {
                        eprintln!("jump at {} {b} != {n}", s.addr);
                    }
                    counters[taken.0 as usize] = a;
                    counters[taken.0 as usize + 1] = n - a;
                }
            }
        }
        let mut incons = 0;
        for (r, f) in plan::evaluate(&plan, &counters).iter().zip(&plan.lines) {
            if f.exact && !r.exact {
                incons += 1;
            }
            println!(
                "{}:{} {} {}",
                plan.files[r.file.0 as usize].path.display(),
                r.line,
                r.count,
                if r.exact {
                    ""
                } else if f.exact {
                    "INCONSISTENT"
                } else {
                    "inexact"
                }
            );
            if args.len() > 5 {
                for t in &f.count {
                    let s = plan
                        .sites
                        .iter()
                        .find(|s| match s.observe {
                            Observe::Count { slot } => slot == t.slot,
                            Observe::Branch { taken, .. } => taken == t.slot || taken.0 + 1 == t.slot.0,
                        })
                        .unwrap();
                    println!("     {:+} {} {:?} = {}", t.coefficient, s.addr, s.observe, counters[t.slot.0 as usize]);
                }
            }
        }
        eprintln!("inconsistent {incons}");
    }
}
