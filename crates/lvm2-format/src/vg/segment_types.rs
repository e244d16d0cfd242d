//! The segment types that LVM2 2.03.16 knows, whether this program carries them or not (`lvm segtypes`; lvm2.md 1.7).
//!
//! What must hold:
//! - A type with a flag is known only if both are: LVM2 takes `striped+FOO` for a type of that name.
//! - A VG with a segment of any other type is one that LVM2 does not change. Ours must not either: whoever made that
//!   segment may want more of the VG than we can see.

const TYPES: [&str; 35] = [
    "linear",
    "striped",
    "zero",
    "error",
    "snapshot",
    "mirror",
    "raid0",
    "raid0_meta",
    "raid1",
    "raid10",
    "raid10_near",
    "raid4",
    "raid5",
    "raid5_n",
    "raid5_la",
    "raid5_ls",
    "raid5_ra",
    "raid5_rs",
    "raid6",
    "raid6_n_6",
    "raid6_nc",
    "raid6_nr",
    "raid6_zr",
    "raid6_ls_6",
    "raid6_rs_6",
    "raid6_la_6",
    "raid6_ra_6",
    "thin-pool",
    "thin",
    "cache-pool",
    "cache",
    "vdo",
    "vdo-pool",
    "writecache",
    "integrity",
];

const FLAGS: [&str; 7] = [
    "RESHAPE",
    "RESHAPE_DATA_OFFSET",
    "RESHAPE_DELTA_DISKS_PLUS",
    "RESHAPE_DELTA_DISKS_MINUS",
    "METADATA_FORMAT",
    "CROP_METADATA",
    "CACHE_USES_CACHEVOL",
];

/// Whether LVM2 knows the type, with its flags.
pub fn lvm2_knows(type_text: &str) -> bool {
    let mut parts = type_text.split('+');
    let known = parts.next().is_some_and(|plain| TYPES.contains(&plain));
    known && parts.all(|flag| FLAGS.contains(&flag))
}

#[cfg(test)]
mod tests {
    use super::lvm2_knows;

    #[test]
    fn a_type_is_known_with_known_flags_only() {
        for known in ["raid1", "thin", "raid5_ls+RESHAPE", "cache+METADATA_FORMAT+CACHE_USES_CACHEVOL"] {
            assert!(lvm2_knows(known), "{known}");
        }
        for unknown in
            ["raid9", "striped+FOO", "striped+FOO+RESHAPE", "+RESHAPE", "", "thin+", "raid1+MERGEVIEW"]
        {
            assert!(!lvm2_knows(unknown), "{unknown}");
        }
    }
}
