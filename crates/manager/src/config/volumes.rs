//! Which volumes this host may bring up: `volume_list` and its like, and the host's tags.
//!
//! What must hold (compared with 2.03.16):
//! - An entry is a VG, an LV as `VG/LV`, a tag of either as `@TAG`, or `@*`: any tag that this host has itself. A list that is
//!   empty means none.
//! - Without `volume_list` everything may come up, but where the host has tags only what has one of them.
//! - `tags { NAME { host_list = [...] } }` is a tag of the hosts that are listed, of every host without a list; `hosttags = 1`
//!   makes the host's name one. A tag's own file `lvm_NAME.conf` goes before `lvm.conf`.

use super::Settings;
use foldback_lvm2_format::text::{Node, Scalar, Section, Value};
use foldback_lvm2_format::vg::{Lv, Vg};
use foldback_units::TagName;

/// The lists.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct VolumeLists {
    volume: Option<Vec<String>>,
    auto: Option<Vec<String>>,
    read_only: Option<Vec<String>>,
    host_tags: Vec<String>,
}

impl VolumeLists {
    pub(super) fn read(settings: &Settings<'_>, host_tags: Vec<String>) -> Self {
        let list = |key| settings.texts("activation", key);
        Self {
            volume: list("volume_list"),
            auto: list("auto_activation_volume_list"),
            read_only: list("read_only_volume_list"),
            host_tags,
        }
    }

    /// Whether an LV may come up; `auto`: by itself. Of a snapshot its origin is asked for.
    pub fn allow(&self, vg: &Vg, lv: &Lv, auto: bool) -> bool {
        let listed = |list: &Option<Vec<String>>| list.as_ref().is_none_or(|list| self.has(list, vg, lv));
        let of_host = self.host_tags.is_empty() || self.volume.is_some() || self.has_host_tag(vg, lv);
        listed(&self.volume) && of_host && (!auto || listed(&self.auto))
    }

    /// Whether an LV comes up read-only, whatever its metadata say.
    pub fn keep_read_only(&self, vg: &Vg, lv: &Lv) -> bool {
        self.read_only.as_ref().is_some_and(|list| self.has(list, vg, lv))
    }

    fn has(&self, list: &[String], vg: &Vg, lv: &Lv) -> bool {
        list.iter().any(|entry| match entry.strip_prefix('@') {
            Some("*") => self.has_host_tag(vg, lv),
            Some(tag) => has_tag(vg, lv, tag),
            None => match entry.split_once('/') {
                Some((in_vg, name)) => in_vg == vg.name.as_str() && name == lv.name.as_str(),
                None => entry == vg.name.as_str(),
            },
        })
    }

    fn has_host_tag(&self, vg: &Vg, lv: &Lv) -> bool {
        self.host_tags.iter().any(|tag| has_tag(vg, lv, tag))
    }
}

fn has_tag(vg: &Vg, lv: &Lv, tag: &str) -> bool {
    let is = |known: &TagName| known.as_str() == tag;
    vg.tags.iter().any(is) || lv.tags.iter().any(is)
}

/// The tags of a host that has this name.
pub(super) fn host_tags(sources: &[Section], host: &str) -> Vec<String> {
    let settings = Settings(sources);
    let mut tags = Vec::new();
    if settings.number("tags", "hosttags").unwrap_or(0) != 0 {
        tags.push(host.to_owned());
    }
    let sections = sources.iter().filter_map(|source| source.section("tags"));
    for item in sections.flat_map(|section| &section.items) {
        let Node::Section(tag) = &item.node else { continue };
        let is_host = |scalar: &Scalar| matches!(scalar, Scalar::Str(name) if name == host);
        let applies = match tag.get("host_list") {
            None => true,
            Some(Node::Value(Value::Array(hosts))) => hosts.iter().any(is_host),
            Some(Node::Value(Value::Scalar(name))) => is_host(name),
            Some(Node::Section(_)) => false,
        };
        if applies {
            tags.push(item.key.trim_start_matches('@').to_owned());
        }
    }
    tags
}

#[cfg(test)]
mod tests {
    use super::{VolumeLists, host_tags};
    use crate::config::{Settings, parse_option};
    use crate::testing::Bench;
    use foldback_units::TagName;

    fn lists(text: &str) -> VolumeLists {
        let sources = parse_option(text).unwrap();
        VolumeLists::read(&Settings(&sources), host_tags(&sources, "here"))
    }

    #[test]
    fn a_list_allows_what_it_names() {
        let mut bench = Bench::with_vg(&[64], 2048);
        bench.lv("root", 2);
        bench.lv("two", 2);
        let mut vg = bench.vg().vg;
        vg.lvs[1].tags.push(TagName::new("x").unwrap());
        let allowed = |text: &str, auto: bool| -> Vec<String> {
            let lists = lists(text);
            let allowed = vg.lvs.iter().filter(|lv| lists.allow(&vg, lv, auto));
            allowed.map(|lv| lv.name.to_string()).collect()
        };
        let list = |entries: &str| allowed(&format!("activation {{ volume_list = [ {entries} ] }}"), false);
        assert_eq!(allowed("", true), ["root", "two"]);
        assert_eq!(list("\"vg/two\""), ["two"]);
        assert_eq!(list("\"vg\""), ["root", "two"]);
        assert_eq!(list("\"vg/tw\", \"other/two\", \"/bad/\""), Vec::<String>::new());
        assert_eq!(list("\"@x\""), ["two"]);
        assert_eq!(list(""), Vec::<String>::new());
        assert_eq!(allowed("activation { auto_activation_volume_list = \"vg/two\" }", true), ["two"]);
        assert_eq!(
            allowed("activation { auto_activation_volume_list = \"vg/two\" }", false),
            ["root", "two"]
        );
    }

    #[test]
    fn a_host_with_tags_takes_what_has_one_of_them() {
        let mut bench = Bench::with_vg(&[64], 2048);
        bench.lv("root", 2);
        bench.lv("two", 2);
        let mut vg = bench.vg().vg;
        vg.lvs[1].tags.push(TagName::new("x").unwrap());
        let allowed = |text: &str| vg.lvs.iter().filter(|lv| lists(text).allow(&vg, lv, false)).count();
        let star = "activation { volume_list = [ \"@*\" ] }";
        assert_eq!(allowed("tags { x { } }"), 1);
        assert_eq!(allowed("tags { y { } }"), 0);
        assert_eq!(allowed("tags { y { } } activation { volume_list = [ \"vg\" ] }"), 2);
        assert_eq!(allowed(&format!("tags {{ x {{ }} }} {star}")), 1);
        assert_eq!(allowed(&format!("tags {{ x {{ host_list = [ \"there\" ] }} }} {star}")), 0);
        assert_eq!(allowed(&format!("tags {{ x {{ host_list = [ \"there\", \"here\" ] }} }} {star}")), 1);
        vg.tags.push(TagName::new("here").unwrap());
        assert_eq!(
            vg.lvs
                .iter()
                .filter(|lv| lists(&format!("tags {{ hosttags = 1 }} {star}")).allow(&vg, lv, false))
                .count(),
            2
        );
    }

    #[test]
    fn what_is_listed_comes_up_read_only() {
        let mut bench = Bench::with_vg(&[64], 2048);
        bench.lv("root", 2);
        let vg = bench.vg().vg;
        let lists = lists("activation/read_only_volume_list=[\"vg/root\"]");
        assert!(lists.keep_read_only(&vg, &vg.lvs[0]));
        assert!(!VolumeLists::default().keep_read_only(&vg, &vg.lvs[0]));
    }
}
