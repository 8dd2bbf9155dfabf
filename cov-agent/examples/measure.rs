//! A program that measures with the library, and ends its measurement whichever way it comes.
//!
//! `measure PID FILE [SECONDS]` counts what process PID runs of its own program until that ends, SECONDS are over, or an
//! interrupt comes, and writes the counts to FILE, for `genhtml` and others. SIGUSR1 shows what becomes of a panic.

use cov_agent::coverage::{CoverageCollector, Run};
use cov_agent::format::lcov;
use cov_agent::object::DebugSearch;
use cov_agent::plan::{PlanOptions, Scope};
use cov_agent::probe::{Bpf, Options};
use cov_agent::process::gate::Key;
use cov_agent::process::{Attached, AttachedEvent, Signals, block_on};
use cov_agent::runner::{Candidate, CoverageTestRunner, Lingering, prepare};
use std::error::Error;
use std::fs::File;
use std::io::Write as _;
use std::panic::resume_unwind;
use std::path::Path;
use std::time::Duration;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [pid, file, seconds @ ..] = &*args else { return Err("measure PID FILE [SECONDS]".into()) };
    let pid = pid.parse()?;
    let seconds: Option<f64> = seconds.first().map(|text| text.parse()).transpose()?;
    let limit = seconds.map(Duration::try_from_secs_f64).transpose()?;
    // Before any thread begins: all of them leave signals to it.
    let mut attached = Attached::new(&[pid], Signals::block()?)?;

    let program = std::fs::read_link(format!("/proc/{pid}/exe"))?;
    let wanted = |_: &Path| true;
    let options = PlanOptions { scope: Scope::Part, ..PlanOptions::of(&wanted) };
    let objects = prepare(vec![Candidate::open(&program)?], &DebugSearch::default(), &options, None, &|| {});
    let armed = objects.prepared.iter().map(|object| Key::of(&object.file)).collect::<Result<_, _>>()?;
    let lingering = Lingering::default();
    let runner = CoverageTestRunner::new(Bpf::new(Options::default())?, CoverageCollector::coverage_init());

    let run = Run { program: program.display().to_string(), ..Run::default() };
    let ended = runner.measure(run, |runner| -> Result<(), Box<dyn Error>> {
        runner.setup_coverage_hooks(objects.prepared)?;
        // Should this process be killed, the kernel could not take its probes away.
        lingering.add(armed)?;
        runner.track_running(pid)?;
        println!("measuring");
        std::io::stdout().flush()?;
        block_on(wait(&mut attached, limit))??;
        Ok(())
    });

    // Whatever happened, this is what was counted until then.
    lcov::write(&ended.snapshot, &mut File::create(file)?)?;
    drop(ended.kernel);
    ended.collected?;
    ended.outcome.unwrap_or_else(|panic| resume_unwind(panic))
}

/// Waits until the process has ended, the time is over, or there is an interrupt.
#[expect(clippy::panic, reason = "to show what becomes of it")]
async fn wait(attached: &mut Attached, limit: Option<Duration>) -> std::io::Result<()> {
    let over = async {
        match limit {
            Some(limit) => tokio::time::sleep(limit).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(over);
    loop {
        tokio::select! {
            event = attached.event() => match event? {
                AttachedEvent::AllEnded | AttachedEvent::Interrupted { .. } => return Ok(()),
                AttachedEvent::Ended { .. } => {}
                AttachedEvent::SnapshotWanted => panic!("nobody has written this part yet"),
            },
            () = &mut over => return Ok(()),
        }
    }
}
