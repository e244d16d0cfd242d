//! The command lines of a step.

use super::model::{BLOCK, VG};
use super::step::{Command, How, Party};

/// The arguments for `lvm` or `foldback`.
pub(crate) fn words(party: Party, command: &Command) -> Vec<String> {
    let lv = |name: &str| format!("{VG}/{name}");
    let line = match command {
        Command::Create { name, mib } => format!("lvcreate -y -L {mib}m -n {name} {VG}"),
        Command::Take { name, origin, chunk, store_mib } => {
            format!("lvcreate -y -s -c {}b -L {store_mib}m -n {name} {}", chunk * BLOCK, lv(origin))
        }
        Command::TakeAll { name, origins, chunk, store_mib } => {
            let origins: Vec<String> = origins.iter().map(|origin| lv(origin)).collect();
            format!("lvcreate -y -s -c {}b -L {store_mib}m -n {name} {}", chunk * BLOCK, origins.join(" "))
        }
        Command::Lengthen { name, mib } => format!("lvextend -L +{mib}m {}", lv(name)),
        Command::LengthenStore { name, mib } => format!("lvextend -L +{mib}m {}", lv(name)),
        Command::Rename { name, to } => format!("lvrename {VG} {name} {to}"),
        Command::Remove { name } => format!("lvremove -y {}", lv(name)),
        Command::Activate { which, up, poll } => {
            let how = if *up { "y" } else { "n" };
            let poll = if *poll { "" } else { " --poll n" };
            match which {
                Some(name) => format!("lvchange -a{how}{poll} {}", lv(name)),
                None => format!("vgchange -a{how}{poll} {VG}"),
            }
        }
        Command::Merge { name, how } => {
            let options = match how {
                How::Wait => "lvconvert --merge",
                How::Background => "lvconvert --merge -b",
                How::Name => "lvm lvconvert --merge",
                How::OnActivate => "lvconvert --merge --onactivate",
                How::NameSnapshot => "lvconvert --merge --namesnapshot -b",
            };
            format!("{options} {}", lv(name))
        }
        Command::MergeBack { name, back } => format!("lvconvert --merge --undo {back} {}", lv(name)),
        Command::Cancel { name } => format!("lvconvert --cancel {}", lv(name)),
        Command::Premerge => format!("premerge {VG}"),
        Command::Finish if party == Party::Lvm2 => format!("vgchange --poll y {VG}"),
        Command::Finish => format!("finish {VG}"),
        Command::Refresh { name } => format!("lvchange --refresh {}", lv(name)),
        Command::Tag { name, tag, on } => {
            format!("lvchange --{}tag {tag} {}", if *on { "add" } else { "del" }, lv(name))
        }
    };
    line.split(' ').map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::super::step::{Command, How, Party};
    use super::words;

    #[test]
    fn a_command_is_said_as_each_party_has_it() {
        let line = |party, command| words(party, &command).join(" ");
        let take = Command::Take { name: "s".into(), origin: "o".into(), chunk: 16, store_mib: 4 };
        assert_eq!(line(Party::Lvm2, take), "lvcreate -y -s -c 65536b -L 4m -n s vgw/o");
        assert_eq!(line(Party::Lvm2, Command::Finish), "vgchange --poll y vgw");
        assert_eq!(line(Party::Foldback, Command::Finish), "finish vgw");
        let merge = Command::Merge { name: "s".into(), how: How::Name };
        assert_eq!(line(Party::Foldback, merge), "lvm lvconvert --merge vgw/s");
    }
}
