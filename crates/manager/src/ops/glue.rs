//! `lvconvert --snapshot`: an LV becomes the exception store of another one. Pure.
//!
//! What must hold (lvm2.md 1.9, 3.1; compared with 2.03.16):
//! - The result is what `lvcreate -s` makes: the store without VISIBLE, a fictional LV as long as the origin is now.
//! - An LV that others are made of, or that is a snapshot or an origin itself, becomes no store.

use crate::environment::{Environment, fresh_uuid};
use crate::ops::lv_create::{Planned, creation};
use crate::ops::names;
use crate::ops::notice::Notice;
use crate::ops::refusal::Refusal;
use crate::ops::snapshot_create::{WhileMerging, check_origin, not_understood};
use foldback_lvm2_format::vg::{Lv, LvStatus, Segment, SegmentKind, SnapshotSegment, Vg};
use foldback_units::{ChunkSize, LvName};

/// Plans the change.
///
/// # Errors
/// [`Refusal`], in LVM2's words where LVM2 refuses it, too.
pub fn plan(
    vg: &Vg,
    (origin, store): (&LvName, &LvName),
    chunk: ChunkSize,
    environment: &mut dyn Environment,
) -> Result<Planned, Refusal> {
    check_kind(vg, origin, store)?;
    if vg.lv(origin).is_none() {
        return Err(Refusal::GlueNoOrigin { vg: vg.name.clone(), lv: origin.clone() });
    }
    let (origin_lv, _) = check_origin(vg, origin, WhileMerging::Refused)?;
    let store_len = check_store(vg, store)?;
    let smallest = chunk.len().checked_mul(3).ok_or(Refusal::TooLarge)?;
    if vg.extent_size.of(store_len) < smallest {
        return Err(Refusal::FewerThanThreeChunks(smallest.get()));
    }
    let fictional = fictional(vg, origin_lv, store, chunk, environment)?;
    let mut after = vg.clone();
    if let Some(store) = after.lv_mut(store) {
        store.set_status(LvStatus::Visible, false);
    }
    after.lvs.push(fictional);
    let done = vec![Notice::print(format!("Logical volume {}/{store} converted to snapshot.", vg.name))];
    Ok(Planned { vg: after, lv: store.clone(), notices: Vec::new(), done })
}

/// The LV that ties a store to its origin.
pub(crate) fn fictional(
    vg: &Vg,
    origin: &Lv,
    store: &LvName,
    chunk_size: ChunkSize,
    environment: &mut dyn Environment,
) -> Result<Lv, Refusal> {
    let name = names::next_numbered(vg, "snapshot")?;
    let mut fictional = Lv::new(name, fresh_uuid(environment), creation(environment));
    fictional.segments = vec![Segment {
        start_extent: 0,
        extent_count: origin.extent_count(),
        tags: Vec::new(),
        kind: SegmentKind::Snapshot(SnapshotSegment {
            chunk_size,
            origin: origin.name.clone(),
            cow: store.clone(),
            merging: false,
        }),
        merge_view: false,
        other: Vec::new(),
    }];
    Ok(fictional)
}

/// What LVM2 looks at before the origin.
fn check_kind(vg: &Vg, origin: &LvName, store: &LvName) -> Result<(), Refusal> {
    let (vg_name, lv) = (vg.name.clone(), store.clone());
    if origin == store {
        return Err(Refusal::GlueItself { vg: vg_name, lv });
    }
    if vg.snapshots().is_cow(store) {
        return Err(Refusal::WrongKind { vg: vg_name, lv, kind: "snapshot".to_owned() });
    }
    find_store(vg, store).map(drop)
}

fn find_store<'v>(vg: &'v Vg, store: &LvName) -> Result<&'v Lv, Refusal> {
    let found = vg.lv(store).filter(|lv| lv.snapshot().is_none());
    found.ok_or_else(|| Refusal::LvNotFound { vg: vg.name.clone(), lv: store.clone() })
}

/// How many extents the store-to-be has.
fn check_store(vg: &Vg, store: &LvName) -> Result<u32, Refusal> {
    let named = || (vg.name.clone(), store.clone());
    let links = vg.snapshots();
    let lv = find_store(vg, store)?;
    if links.is_origin(store) {
        let (vg, lv) = named();
        return Err(Refusal::WrongProperty { vg, lv, property: "lv_is_origin" });
    }
    if let Some(type_text) = not_understood(lv) {
        let (vg, lv) = named();
        return Err(Refusal::NotUnderstood { vg, lv, type_text });
    }
    if lv.status.contains(&LvStatus::Locked) || lv.status.contains(&LvStatus::Pvmove) {
        let (vg, lv) = named();
        return Err(Refusal::Locked { vg, lv });
    }
    let plain = |segment: &Segment| matches!(segment.kind, SegmentKind::Striped(_));
    if !links.is_visible(lv) || vg.users_of(store).next().is_some() || !lv.segments.iter().all(plain) {
        let (vg, lv) = named();
        return Err(Refusal::WrongProperty { vg, lv, property: "lv_is_hidden" });
    }
    if vg.is_partial(lv) {
        let (vg, lv) = named();
        return Err(Refusal::Partial { vg, lv });
    }
    Ok(lv.extent_count())
}

#[cfg(test)]
mod tests {
    use super::plan;
    use crate::ops::{Refusal, split};
    use crate::testing::{TestEnvironment, lv_name, with_other};
    use foldback_lvm2_format::vg::{LvStatus, Vg};
    use foldback_units::ChunkSize;

    fn glue(vg: &Vg, origin: &str, store: &str) -> Result<Vg, Refusal> {
        let chunk = ChunkSize::from_sectors(64).unwrap();
        plan(vg, (&lv_name(origin), &lv_name(store)), chunk, &mut TestEnvironment::new()).map(|it| it.vg)
    }

    /// lvm2.md 1.9: VISIBLE moves to the fictional LV, and back.
    #[test]
    fn gluing_and_splitting_are_each_others_undoing() {
        let vg = with_other(&[]);
        let glued = glue(&vg, "root", "other").unwrap();
        let links = glued.snapshots();
        let snapshot = links.of_cow(&lv_name("other")).unwrap();
        assert_eq!((snapshot.segment.chunk_size.sectors(), snapshot.extent_count), (64, 1));
        assert!(!glued.lv(&lv_name("other")).unwrap().status.contains(&LvStatus::Visible));
        assert!(snapshot.fictional.status.contains(&LvStatus::Visible));
        assert_eq!(split::plan(&glued, &lv_name("other")).unwrap().vg, vg);
    }

    #[test]
    fn what_is_in_use_becomes_no_store() {
        let vg = with_other(&["snap"]);
        assert!(matches!(glue(&vg, "other", "other"), Err(Refusal::GlueItself { .. })));
        assert!(matches!(glue(&vg, "other", "snap"), Err(Refusal::WrongKind { .. })));
        assert!(matches!(glue(&vg, "other", "root"), Err(Refusal::WrongProperty { .. })));
        assert!(matches!(glue(&vg, "nothing", "other"), Err(Refusal::GlueNoOrigin { .. })));
        assert!(matches!(glue(&vg, "root", "snapshot0"), Err(Refusal::LvNotFound { .. })));
        assert_eq!(glue(&vg, "snap", "other"), Err(Refusal::SnapshotOf("snapshots")));
    }
}
