//! Runs and gaps beside the segments.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use super::{Check, Finding, Kind};
use crate::{
    model::Gap,
    rebuild::{
        RebuildError,
        pass::{Known, Learned, Timeline},
    },
};

/// Between two looks beside a recorder at work.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
const LOOKS: u32 = 4;

impl Check<'_> {
    /// Compares runs and gaps with the segments.
    pub(super) async fn timeline(
        &mut self,
        name: &str,
        of: &Known,
        learned: &Learned,
    ) -> Result<(), RebuildError> {
        let mut differs = Vec::new();
        for look in 0..LOOKS {
            let now = self.pass.timeline(of, learned).await?;
            differs = differences(&now);
            if differs.is_empty() || !self.options.in_use {
                break;
            }
            // Rows of one happening may be written one after the other.
            if look + 1 < LOOKS {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        }
        let mended =
            self.options.repair && !differs.is_empty() && self.pass.settle(of, learned).await?;
        for (kind, detail) in differs {
            // Two files at the same time stay two files.
            let mended = mended && kind == Kind::Timeline;
            let (stream, path) = (name.to_owned(), PathBuf::new());
            self.report.add(Finding { kind, stream, path, detail, mended });
        }
        Ok(())
    }
}

fn differences(now: &Timeline) -> Vec<(Kind, String)> {
    let mut found = Vec::new();
    for (a, b) in &now.line.overlaps {
        found.push((Kind::Overlap, format!("segments {a} and {b} lie at the same time")));
    }
    let copy = Timeline { runs: now.runs.clone(), gaps: now.gaps.clone(), line: now.line.clone() };
    let Some(rewrite) = copy.rewrite() else { return found };
    let span = |g: &Gap| {
        let end = g.end.map_or_else(|| "now".to_owned(), |e| e.to_string());
        format!("{} to {end}", g.start)
    };
    let old: BTreeSet<_> = rewrite.old_gaps.iter().map(|g| (g.start, g.end, g.reason)).collect();
    let new: BTreeSet<_> = rewrite.gaps.iter().map(|g| (g.start, g.end, g.reason)).collect();
    for gap in rewrite.gaps.iter().filter(|g| !old.contains(&(g.start, g.end, g.reason))) {
        let detail =
            format!("{}: a gap ({}) that the index does not have so", span(gap), gap.reason);
        found.push((Kind::Timeline, detail));
    }
    for gap in rewrite.old_gaps.iter().filter(|g| !new.contains(&(g.start, g.end, g.reason))) {
        let detail = format!("{}: no such gap ({}), says the footage", span(gap), gap.reason);
        found.push((Kind::Timeline, detail));
    }
    for run in rewrite.runs.iter().filter(|r| !rewrite.old_runs.contains(r)) {
        let end = run.end.map_or_else(String::new, |e| e.to_string());
        let detail = format!("{} to {end}: the index has no such run", run.start);
        found.push((Kind::Timeline, detail));
    }
    for run in rewrite.old_runs.iter().filter(|r| !rewrite.runs.contains(r)) {
        let end = run.end.map_or_else(String::new, |e| e.to_string());
        let detail = format!("{} to {end}: a run without the footage for it", run.start);
        found.push((Kind::Timeline, detail));
    }
    if !rewrite.ends.is_empty() || !rewrite.moved.is_empty() {
        let n = rewrite.ends.len() + rewrite.moved.len();
        found.push((Kind::Timeline, format!("{n} segments do not join their runs")));
    }
    found
}
