//! The numbers of a VG's live volumes, for metrics.
//!
//! What must hold:
//! - The engine's and user-dm's plain numbers are copied on the carrier's thread, in one go; text is made elsewhere.
//! - Base units: bytes and seconds.

use super::{ChangeError, Vg};
use crate::exposition::Exposition;
use crate::front::lv_name;
use crate::vg::LvStatus;
use foldback_dm_table::SnapshotStatus;
use foldback_units::{Bytes, Sectors};
use foldback_user_dm::{Counters, DiskCounts, Queue, RequestCounts};

/// Numbers of one volume beside its status.
struct Numbers {
    counts: RequestCounts,
    queue: Queue,
    /// Of its origin group, and the memory of its tables.
    engine: Option<(Counters, usize)>,
}

fn bytes(sectors: Sectors) -> u64 {
    sectors.to_bytes().map_or(u64::MAX, Bytes::get)
}

impl Vg {
    /// Adds what is known now.
    ///
    /// # Errors
    /// The carrier is gone.
    pub(crate) fn measure(&self, into: &mut Exposition) -> Result<(), ChangeError> {
        let lvs = self.lvs()?;
        let devices: Vec<_> = lvs.iter().map(|lv| lv.device.clone()).collect();
        let all = move |carrier: &mut crate::carrier::Carrier| {
            let numbers = devices.iter().map(|device| {
                let (counts, queue) = carrier.dm.request_counts(device).unwrap_or_default();
                Numbers { counts, queue, engine: carrier.dm.counters(device) }
            });
            (numbers.collect::<Vec<_>>(), carrier.dm.disk_counts())
        };
        let (numbers, disks) = self.carrier.call(all)?;
        let name = self.name();
        let vg = name.as_str();
        let trouble = u8::from(self.trouble().is_some());
        into.add(
            "foldback_vg_trouble",
            "1 where requests wait because somebody else changed the volume group.",
            &[("vg", vg)],
            trouble,
        );
        for (lv, numbers) in lvs.iter().zip(numbers) {
            let lv_name = lv_name(&name, &lv.device).unwrap_or_else(|| lv.device.0.clone());
            let mut volume = Volume { into, labels: [("vg", vg), ("lv", &lv_name)] };
            volume.requests(lv, &numbers);
            volume.store(lv);
            volume.merge(lv);
            if lv.table.contains(" snapshot-origin ") || lv.merge.is_some() {
                volume.engine(numbers.engine);
            }
        }
        for (path, counts) in disks {
            disk(into, &[("vg", vg), ("disk", &path)], counts);
        }
        Ok(())
    }
}

fn disk(into: &mut Exposition, labels: &[(&str, &str)], counts: DiskCounts) {
    into.add("foldback_disk_reads_total", "Reads given to a disk.", labels, counts.reads);
    into.add("foldback_disk_read_bytes_total", "Bytes of reads given to a disk.", labels, counts.read.get());
    into.add("foldback_disk_writes_total", "Writes given to a disk.", labels, counts.writes);
    into.add(
        "foldback_disk_written_bytes_total",
        "Bytes of writes given to a disk.",
        labels,
        counts.written.get(),
    );
    into.add("foldback_disk_flushes_total", "Flushes given to a disk.", labels, counts.flushes);
}

/// One volume's samples.
struct Volume<'e> {
    into: &'e mut Exposition,
    labels: [(&'e str, &'e str); 2],
}

impl Volume<'_> {
    fn add(&mut self, name: &'static str, help: &'static str, value: u64) {
        self.into.add(name, help, &self.labels, value);
    }

    fn requests(&mut self, lv: &LvStatus, numbers: &Numbers) {
        let RequestCounts { reads, read, writes, written, flushes, discards, failed } = numbers.counts;
        self.add("foldback_volume_size_bytes", "Length of a volume.", bytes(lv.size));
        self.add("foldback_volume_suspended", "1 where its requests wait.", u64::from(lv.suspended));
        self.add("foldback_volume_reads_total", "Reads answered.", reads);
        self.add("foldback_volume_read_bytes_total", "Bytes read.", bytes(read));
        self.add("foldback_volume_writes_total", "Writes answered, of zeros too.", writes);
        self.add("foldback_volume_written_bytes_total", "Bytes written.", bytes(written));
        self.add("foldback_volume_flushes_total", "Flushes answered.", flushes);
        self.add("foldback_volume_discards_total", "Discards answered.", discards);
        self.add("foldback_volume_errors_total", "Requests that failed.", failed);
        self.add(
            "foldback_volume_requests_under_way",
            "Requests begun and not answered.",
            numbers.queue.under_way,
        );
        let held = numbers.queue.suspended.saturating_add(numbers.queue.parked);
        self.add(
            "foldback_volume_requests_held",
            "Requests that wait for a resume, or for room in a store.",
            held,
        );
    }

    fn store(&mut self, lv: &LvStatus) {
        let Some(status) = lv.status.iter().find_map(|line| SnapshotStatus::parse(line)) else { return };
        let valid = !matches!(status, SnapshotStatus::Invalid | SnapshotStatus::Overflow);
        self.add("foldback_store_valid", "0 where a snapshot is lost.", u64::from(valid));
        if let SnapshotStatus::Usage { allocated, total, metadata } = status {
            let help = "What of a snapshot's store is taken; of a merging one, what is left in it.";
            self.add("foldback_store_allocated_bytes", help, bytes(allocated));
            self.add("foldback_store_size_bytes", "Length of a snapshot's store.", bytes(total));
            self.add(
                "foldback_store_metadata_bytes",
                "Header and tables of a snapshot's store.",
                bytes(metadata),
            );
        }
        if let Some(rate) = lv.fill_rate {
            self.add(
                "foldback_store_fill_bytes_per_second",
                "How fast a snapshot's store fills.",
                bytes(Sectors(rate)),
            );
        }
    }

    fn merge(&mut self, lv: &LvStatus) {
        let Some(merge) = &lv.merge else { return };
        let size = |chunks: u64| bytes(merge.chunk.checked_mul(chunks).unwrap_or(Sectors(u64::MAX)));
        self.add(
            "foldback_merge_bytes",
            "What a merge had to move when it was begun here.",
            size(merge.chunks_total),
        );
        self.add("foldback_merge_left_bytes", "What a merge has still to move.", size(merge.chunks_left));
        self.add(
            "foldback_merge_failed",
            "1 where a merge met an error and stands.",
            u64::from(merge.failed),
        );
        if let Some(rate) = merge.rate {
            self.add("foldback_merge_bytes_per_second", "How fast a merge goes.", size(rate));
        }
    }

    /// Counters of the engine begin anew when the volume's snapshots change; that is what counters may do.
    fn engine(&mut self, engine: Option<(Counters, usize)>) {
        let Some((counters, table)) = engine else { return };
        self.add(
            "foldback_origin_flushes_total",
            "Flushes that snapshots and merges of an origin asked for.",
            counters.flushes,
        );
        self.add(
            "foldback_origin_metadata_writes_total",
            "Metadata writes to its stores.",
            counters.metadata_writes,
        );
        let written = bytes(Sectors(counters.metadata_sectors));
        self.add(
            "foldback_origin_metadata_written_bytes_total",
            "Bytes of metadata writes to its stores.",
            written,
        );
        self.add("foldback_origin_commits_total", "Commits of exceptions.", counters.commits);
        self.add(
            "foldback_origin_chunks_copied_out_total",
            "Chunks copied to a store.",
            counters.chunks_copied_out,
        );
        self.add("foldback_origin_merge_windows_total", "Windows of merges completed.", counters.windows);
        self.add(
            "foldback_origin_chunks_merged_total",
            "Chunks merged, again ones too.",
            counters.chunks_merged,
        );
        self.add(
            "foldback_origin_chunks_remerged_total",
            "Chunks merged again because they were written.",
            counters.chunks_recopied,
        );
        self.add(
            "foldback_origin_writes_held_total",
            "Writes that waited for a chunk to be copied.",
            counters.writes_held,
        );
        let table = u64::try_from(table).unwrap_or(u64::MAX);
        self.add("foldback_origin_table_bytes", "Memory of the tables of exceptions.", table);
    }
}
