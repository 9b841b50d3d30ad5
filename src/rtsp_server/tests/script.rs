//! Recorded footage that is not on any disk.

use std::sync::Arc;

use crate::{
    hub::Run,
    playback::Target,
    proto::{
        access_unit::{AccessUnit, Tracks, leading_track},
        time::{WallSpan, WallTime},
    },
    rtsp_server::footage::Item,
};

/// Units in order, with npt counted from the first.
#[derive(Debug)]
pub(in crate::rtsp_server) struct Script {
    items: Arc<Vec<Item>>,
    length: WallSpan,
}

impl Script {
    /// Runs one after another; gaps take no npt.
    pub(in crate::rtsp_server) fn new(
        runs: Vec<(Arc<Run>, Vec<AccessUnit>)>,
        tail: WallSpan,
    ) -> Self {
        let mut items = Vec::new();
        let mut npt = WallSpan::ZERO;
        for (index, (run, units)) in runs.into_iter().enumerate() {
            let first = units.first().map_or(WallTime::default(), |u| u.wall);
            let last = units.iter().map(|u| u.wall).max().unwrap_or(first);
            let mut seen = Vec::new();
            for unit in units {
                let at = npt + (unit.wall - first);
                let fresh = index > 0 && !seen.contains(&unit.track);
                seen.push(unit.track);
                items.push(Item { run: Arc::clone(&run), unit: Arc::new(unit), at, fresh });
            }
            npt = npt + (last - first) + tail;
        }
        Self { items: Arc::new(items), length: npt }
    }

    /// The same without what is presented in `gone`: npt goes on as if it were there.
    pub(in crate::rtsp_server) fn without(self, gone: std::ops::Range<WallSpan>) -> Self {
        let (mut items, mut broken) = (Vec::new(), Vec::new());
        for item in self.items.iter().cloned() {
            let track = item.unit.track;
            if gone.contains(&item.at) {
                broken.push(track);
                continue;
            }
            let fresh = item.fresh || broken.contains(&track);
            broken.retain(|t| *t != track);
            items.push(Item { fresh, ..item });
        }
        Self { items: Arc::new(items), length: self.length }
    }

    pub(in crate::rtsp_server) fn tracks(&self) -> Tracks {
        Arc::clone(&self.items[0].run.tracks)
    }

    pub(in crate::rtsp_server) fn start(&self) -> WallTime {
        self.items[0].unit.wall
    }

    pub(in crate::rtsp_server) fn end(&self) -> (WallSpan, WallTime) {
        let last = self.items.last().unwrap();
        (self.length, last.unit.wall + (self.length - last.at))
    }

    pub(in crate::rtsp_server) fn both(&self, target: Target) -> (WallSpan, WallTime) {
        let place = |item: &&Item| match target {
            Target::Npt(npt) => item.at >= npt,
            Target::Wall(wall) => item.unit.wall >= wall,
        };
        match (self.items.iter().find(place), target) {
            (None, _) => self.end(),
            (Some(item), Target::Npt(npt)) => (npt, item.unit.wall - (item.at - npt)),
            // In a gap: where it goes on.
            (Some(item), Target::Wall(wall)) if item.fresh => (item.at, wall),
            (Some(item), Target::Wall(wall)) => (item.at - (item.unit.wall - wall), wall),
        }
    }

    pub(in crate::rtsp_server) fn reader(&self) -> Reader {
        Reader { items: Arc::clone(&self.items), next: 0, end: None }
    }
}

#[derive(Debug)]
pub(in crate::rtsp_server) struct Reader {
    items: Arc<Vec<Item>>,
    next: usize,
    end: Option<Target>,
}

impl Reader {
    pub(in crate::rtsp_server) fn seek(&mut self, target: Target) -> WallSpan {
        self.end = None;
        let before = |item: &Item| match target {
            Target::Npt(npt) => item.at <= npt,
            Target::Wall(wall) => item.unit.wall <= wall,
        };
        let lead = leading_track(&self.items[0].run.tracks);
        let key = |item: &Item| item.unit.track == lead && item.unit.random_access;
        let found = self.items.iter().rposition(|item| key(item) && before(item));
        self.next = found.unwrap_or(0);
        self.items[self.next].at
    }

    pub(in crate::rtsp_server) fn set_end(&mut self, end: Target) {
        self.end = Some(end);
    }

    pub(in crate::rtsp_server) async fn next(&mut self) -> Option<Item> {
        let item = self.items.get(self.next)?;
        let over = match self.end {
            None => false,
            Some(Target::Npt(npt)) => item.at >= npt,
            Some(Target::Wall(wall)) => item.unit.wall >= wall,
        };
        if over {
            return None;
        }
        self.next += 1;
        Some(item.clone())
    }
}
