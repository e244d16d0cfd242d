//! What the API tells of live volumes to those who only look.

use super::service::{Refused, vg_info};
use super::types::{EventInfo, MapInfo, MetricsText, VgInfo};
use crate::events::changes;
use crate::exposition::Exposition;
use crate::served::{Daemon, DaemonError};
use crate::vg::{LvStatus, Vg};
use foldback_units::Cells;
use foldback_user_dm::{ChunkMap, MapOf};
use std::collections::VecDeque;
use std::future::ready;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::spawn_blocking;
use zlink::Reply;
use zlink::futures_util::StreamExt;
use zlink::futures_util::stream::{Stream, once, unfold};

fn counts(cells: &Cells) -> Vec<u64> {
    cells.counts().iter().map(|count| count.get()).collect()
}

/// The map of a live volume, by its UUID.
pub(super) fn map(vg: &Vg, id: &str) -> Result<MapInfo, Refused> {
    let lvs = vg.lvs().map_err(DaemonError::from)?;
    let found = lvs.into_iter().find(|lv| lv.id.to_string() == id);
    let lv = found.ok_or_else(|| Refused::NotActive { message: format!("{id} is not active") })?;
    match vg.map(&lv.device).map_err(DaemonError::from)? {
        Some(map) => Ok(drawn(&map)),
        None if lv.table.contains(" snapshot") => Err(Refused::Failed {
            message: format!("{} is invalid: nothing of it is kept any more", lv.device),
            stage: String::new(),
        }),
        None => Ok(plain(&lv)),
    }
}

/// How often it is looked for events.
const EVENTS_EVERY: Duration = Duration::from_millis(200);
/// What one client may not have read yet: the stream looks no further ahead.
type Waiting = VecDeque<EventInfo>;

/// What happens from now on; the first event says that it is listened. Without `more` that is all.
pub(super) async fn monitor(daemon: Arc<Daemon>, more: bool) -> impl Stream<Item = Reply<EventInfo>> + Unpin {
    let reply = move |event: EventInfo| Reply::new(Some(event)).set_continues(Some(more));
    let (kind, vg, text) = ("listening".to_owned(), String::new(), String::new());
    let first = EventInfo { kind, vg, device: None, id: None, text };
    let first = reply(first);
    let before = look(&daemon).await;
    let rest = unfold((before, Waiting::new()), move |(mut seen, mut waiting)| {
        let daemon = Arc::clone(&daemon);
        async move {
            while more && waiting.is_empty() {
                tokio::time::sleep(EVENTS_EVERY).await;
                if let Some(now) = look(&daemon).await {
                    waiting.extend(changes(seen.as_deref().unwrap_or_default(), &now));
                    seen = Some(now);
                }
            }
            let event = waiting.pop_front()?;
            Some((reply(event), (seen, waiting)))
        }
    });
    Box::pin(once(ready(first)).chain(rest))
}

/// All live volumes, on another thread than the API's: one of them may be waiting for its disk.
async fn look(daemon: &Arc<Daemon>) -> Option<Vec<VgInfo>> {
    let daemon = Arc::clone(daemon);
    let all = move || daemon.vgs().iter().map(|vg| vg_info(vg)).collect();
    spawn_blocking(all).await.ok()
}

/// The metrics of all volumes, in Prometheus's text format.
pub(super) fn metrics(daemon: &Daemon) -> MetricsText {
    let mut all = Exposition::default();
    all.add("foldback_up", "1 where the daemon answers.", &[], 1);
    all.add("foldback_info", "The daemon's version.", &[("version", super::VERSION)], 1);
    for vg in daemon.vgs() {
        if let Err(error) = vg.measure(&mut all) {
            say!("foldback: measuring {}: {error}", vg.name());
        }
    }
    MetricsText { text: all.text() }
}

fn drawn(map: &ChunkMap) -> MapInfo {
    let of = match map.of {
        MapOf::Snapshot => "snapshot",
        MapOf::Origin => "origin",
        MapOf::Merge => "merge",
    };
    MapInfo {
        of: of.to_owned(),
        sectors: map.kept.size().get(),
        cell_sectors: map.kept.length().get(),
        kept: counts(&map.kept),
        merged: map.merged.as_ref().map(counts),
    }
}

fn plain(lv: &LvStatus) -> MapInfo {
    let cells = Cells::new(lv.size, foldback_units::Sectors(1));
    MapInfo {
        of: "plain".to_owned(),
        sectors: cells.size().get(),
        cell_sectors: cells.length().get(),
        kept: counts(&cells),
        merged: None,
    }
}
