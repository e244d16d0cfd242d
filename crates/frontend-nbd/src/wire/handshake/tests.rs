//! The handshake by the sentences of doc/proto.md.
//!
//! What must hold: each option has the reply that the protocol gives it, and what has none ends the connection.

use super::{Handshake, Heard, MAX_OPTION, MAX_OPTIONS, MAX_SKIPPED};
use crate::fuzz::{OptionReply, option, option_replies};
use crate::wire::{Export, Refusal, Session, Violation};
use foldback_units::Sectors;
use zerocopy::network_endian::U32;

const ERR: u32 = 1 << 31;

fn word(number: u32) -> [u8; 4] {
    U32::new(number).to_bytes()
}

fn text(text: &str) -> Vec<u8> {
    [&word(text.len() as u32)[..], text.as_bytes()].concat()
}

fn export() -> Export {
    Export { name: "vg/lv".into(), description: "root".into(), size: Sectors(8), read_only: false }
}

/// A handshake whose client has sent its flags, and what was sent to it.
struct Played {
    handshake: Handshake,
    out: Vec<u8>,
}

impl Played {
    fn new(flags: u32) -> Self {
        let mut out = Vec::new();
        let mut handshake = Handshake::new(&mut out);
        assert_eq!(handshake.advance(&word(flags), &mut out), Ok(Some((4, Heard::Nothing))));
        Self { handshake, out }
    }

    fn plays(&mut self, number: u32, data: &[u8]) -> Result<Heard, Violation> {
        let mut bytes = Vec::new();
        option(number, data, &mut bytes);
        let mut heard = Heard::Nothing;
        while !bytes.is_empty() {
            let (used, one) = self.handshake.advance(&bytes, &mut self.out)?.expect("the option is whole");
            bytes.drain(..used);
            heard = one;
        }
        Ok(heard)
    }

    fn replies(&self) -> Vec<OptionReply> {
        let (replies, rest) = option_replies(&self.out).unwrap();
        assert!(rest.is_empty());
        replies
    }

    fn last(&self) -> (u32, u32) {
        let replies = self.replies();
        let (option, kind, _) = replies.last().unwrap();
        (*option, *kind)
    }

    fn enters(&mut self, name: &str) -> Session {
        let Ok(Heard::Info(wish, true)) = self.plays(7, &[text(name), vec![0, 0]].concat()) else {
            panic!("not NBD_OPT_GO")
        };
        self.handshake.info(&wish, true, Ok(&export()), &mut self.out).unwrap()
    }
}

/// "S: 64 bits, `NBDMAGIC` [...] S: 64 bits, `IHAVEOPT` [...] S: 16 bits, handshake flags".
#[test]
fn the_greeting() {
    let mut out = Vec::new();
    drop(Handshake::new(&mut out));
    assert_eq!(out, b"NBDMAGICIHAVEOPT\0\x03");
}

/// "the server MUST drop the TCP connection if the client sets an unknown flag".
#[test]
fn unknown_client_flags_end_it() {
    let mut out = Vec::new();
    let advanced = Handshake::new(&mut out).advance(&word(4), &mut Vec::new());
    assert_eq!(advanced, Err(Violation::ClientFlags(4)));
}

/// Without its magic nobody can tell where an option begins.
#[test]
fn an_option_without_its_magic_ends_it() {
    let mut played = Played::new(3);
    let advanced = played.handshake.advance(b"IHAVEOPU\0\0\0\x03\0\0\0\0", &mut played.out);
    assert_eq!(advanced, Err(Violation::OptionMagic(0x4948_4156_454f_5055)));
}

/// `NBD_OPT_EXPORT_NAME`: "S: 64 bits, size of the export in bytes; S: 16 bits, transmission flags; S: 124 bytes, zeroes
/// (unless `NBD_FLAG_C_NO_ZEROES` was negotiated by the client)".
#[test]
fn export_name_answers_without_a_head() {
    for (flags, zeroes) in [(0, 124), (1, 124), (2, 0), (3, 0)] {
        let mut played = Played::new(flags);
        assert_eq!(played.plays(1, b"vg/lv"), Ok(Heard::Enter("vg/lv".into())));
        let session = played.handshake.enter("vg/lv", &export(), &mut played.out);
        assert_eq!(played.out[18..26], [0, 0, 0, 0, 0, 0, 0x10, 0]);
        assert_eq!(played.out.len(), 18 + 10 + zeroes);
        assert!(!session.structured && !session.contexts);
    }
}

/// `NBD_OPT_EXPORT_NAME`: "This is the only valid option in nonfixed newstyle negotiation."
#[test]
fn without_fixed_newstyle_there_is_only_one_option() {
    assert_eq!(Played::new(0).plays(3, &[]), Err(Violation::NotFixed(3)));
}

/// `NBD_REP_ERR_UNSUP`: "The option sent by the client is unknown by this server implementation"; the data is skipped.
#[test]
fn an_unknown_option_is_skipped_with_its_data() {
    let mut played = Played::new(3);
    for number in [0, 4, 5, 11, 12, u32::MAX] {
        for len in [0, 1, 100_000] {
            assert_eq!(played.plays(number, &vec![7; len]), Ok(Heard::Nothing));
            assert_eq!(played.last(), (number, ERR + 1), "STARTTLS is one of them");
        }
    }
    assert_eq!(played.plays(3, &[]), Ok(Heard::List));
}

/// `NBD_REP_ERR_TOO_BIG`: "The request or the reply is too large to process".
#[test]
fn an_option_that_is_too_long_is_skipped_or_ends_it() {
    let mut played = Played::new(3);
    assert_eq!(played.plays(6, &vec![0; MAX_OPTION as usize + 1]), Ok(Heard::Nothing));
    assert_eq!(played.last(), (6, ERR + 9));
    let head = [&b"IHAVEOPT"[..], &word(6), &word(MAX_SKIPPED + 1)].concat();
    assert_eq!(
        played.handshake.advance(&head, &mut Vec::new()),
        Err(Violation::OptionLength(MAX_SKIPPED + 1))
    );
}

#[test]
fn options_are_bounded_in_number() {
    let mut played = Played::new(3);
    for _ in 0..MAX_OPTIONS {
        assert_eq!(played.plays(99, &[]), Ok(Heard::Nothing));
    }
    assert_eq!(played.plays(99, &[]), Err(Violation::Options(MAX_OPTIONS)));
}

/// `NBD_OPT_ABORT`: "The server MUST reply with `NBD_REP_ACK`"; "a server SHOULD ignore any data sent by the client".
#[test]
fn abort_is_acknowledged() {
    let mut played = Played::new(3);
    assert_eq!(played.plays(2, b"whatever"), Ok(Heard::Abort));
    assert_eq!(played.last(), (2, 1));
}

/// `NBD_OPT_LIST`: "Return zero or more `NBD_REP_SERVER` replies, one for each export, followed by `NBD_REP_ACK`".
#[test]
fn a_list_ends_with_an_acknowledgement() {
    let mut played = Played::new(3);
    assert_eq!(played.plays(3, &[]), Ok(Heard::List));
    played.handshake.list(&[export(), export()], &mut played.out);
    let server = (3, 2, [text("vg/lv"), b"root".to_vec()].concat());
    assert_eq!(played.replies(), [server.clone(), server, (3, 1, vec![])]);
}

/// LIST and STRUCTURED_REPLY: "the server SHOULD reject a request that includes data with `NBD_REP_ERR_INVALID`".
#[test]
fn options_without_data_refuse_data() {
    let mut played = Played::new(3);
    for number in [3, 8] {
        assert_eq!(played.plays(number, b"x"), Ok(Heard::Nothing));
        assert_eq!(played.last(), (number, ERR + 3));
    }
    assert!(!played.enters("vg/lv").structured);
}

/// `NBD_OPT_GO`: "the server MUST send at least one `NBD_REP_INFO`, with an `NBD_INFO_EXPORT` information type"; "The server
/// MUST ignore any information requests it does not understand".
#[test]
fn go_tells_size_blocks_and_what_is_asked_for() {
    let mut played = Played::new(3);
    let wish = [text("vg/lv"), vec![0, 2, 0, 1, 0, 2]].concat();
    let Ok(Heard::Info(wish, true)) = played.plays(7, &wish) else { panic!("not NBD_OPT_GO") };
    assert!(played.handshake.info(&wish, true, Ok(&export()), &mut played.out).is_some());
    let kinds: Vec<(u32, Vec<u8>)> =
        played.replies().into_iter().map(|(_, kind, data)| (kind, data)).collect();
    let golden: [(u32, &[u8]); 5] = [
        (3, b"\0\0\0\0\0\0\0\0\x10\0\x09\x6d"),
        (3, b"\0\x01vg/lv"),
        (3, b"\0\x02root"),
        (3, b"\0\x03\0\0\x02\0\0\0\x10\0\x02\0\0\0"),
        (1, b""),
    ];
    assert_eq!(kinds, golden.map(|(kind, data)| (kind, data.to_vec())));
}

/// `NBD_OPT_INFO`: the same replies, for a client that "does not yet want to move to the transmission phase".
#[test]
fn info_does_not_enter() {
    let mut played = Played::new(3);
    let Ok(Heard::Info(wish, false)) = played.plays(6, &[text("vg/lv"), vec![0, 0]].concat()) else {
        panic!("not NBD_OPT_INFO")
    };
    assert_eq!(played.handshake.info(&wish, false, Ok(&export()), &mut played.out), None);
    assert_eq!(played.last(), (6, 1));
}

/// `NBD_REP_ERR_UNKNOWN`: "The requested export is not available"; then options go on.
#[test]
fn a_refused_export_leaves_the_handshake_open() {
    let mut played = Played::new(3);
    let refusals =
        [(Refusal::Unknown, 6), (Refusal::Policy("it is being merged".into()), 2), (Refusal::Shutdown, 7)];
    for (refusal, kind) in refusals {
        let Ok(Heard::Info(wish, true)) = played.plays(7, &[text("x"), vec![0, 0]].concat()) else {
            panic!("not NBD_OPT_GO")
        };
        assert_eq!(played.handshake.info(&wish, true, Err(&refusal), &mut played.out), None);
        assert_eq!(played.replies().pop().unwrap(), (7, ERR + kind, refusal.to_string().into_bytes()));
    }
    assert_eq!(played.enters("vg/lv").size, Sectors(8));
}

fn selects(played: &mut Played, name: &str, query: &str) {
    let data = [text(name), word(1).to_vec(), text(query)].concat();
    let Ok(Heard::Contexts(wish, true)) = played.plays(10, &data) else { panic!("not a selection") };
    played.handshake.contexts(wish, true, Ok(&export()), &mut played.out);
}

/// "This option MUST NOT be requested unless structured replies have been negotiated first. If a client attempts to do so, a
/// server SHOULD send `NBD_REP_ERR_INVALID`."
#[test]
fn contexts_need_structured_replies() {
    let mut played = Played::new(3);
    let data = [text("vg/lv"), word(1).to_vec(), text("base:allocation")].concat();
    for number in [9, 10] {
        assert_eq!(played.plays(number, &data), Ok(Heard::Nothing));
        assert_eq!(played.last(), (number, ERR + 3));
    }
}

/// "Issuing this command replaces all previously-set metadata contexts (including when this command fails)"; they count where
/// "it referred to the same export name that was ultimately selected for transmission phase".
#[test]
fn contexts_hold_for_the_export_that_they_were_selected_for() {
    let cases: [(&[(&str, &str)], bool); 5] = [
        (&[("vg/lv", "base:allocation")], true),
        (&[("", "base:allocation")], false),
        (&[("vg/lv", "base:allocation"), ("vg/lv", "qemu:x")], false),
        (&[("vg/lv", "qemu:x"), ("vg/lv", "base:allocation")], true),
        (&[], false),
    ];
    for (selections, selected) in cases {
        let mut played = Played::new(3);
        assert_eq!(played.plays(8, &[]), Ok(Heard::Nothing));
        for (name, query) in selections {
            selects(&mut played, name, query);
        }
        let session = played.enters("vg/lv");
        assert_eq!((session.structured, session.contexts), (true, selected), "{selections:?}");
    }
}

/// A selection that is too long to be looked at fails, too, and selects nothing.
#[test]
fn a_selection_that_fails_takes_back_the_one_before() {
    for data in [vec![0; MAX_OPTION as usize + 1], b"\0".to_vec()] {
        let mut played = Played::new(3);
        assert_eq!(played.plays(8, &[]), Ok(Heard::Nothing));
        selects(&mut played, "vg/lv", "base:allocation");
        assert_eq!(played.plays(10, &data), Ok(Heard::Nothing));
        assert!(!played.enters("vg/lv").contexts);
    }
}

/// "32 bits, NBD metadata context ID. String, name of the metadata context", then `NBD_REP_ACK`.
#[test]
fn a_context_is_told_with_its_number() {
    let mut played = Played::new(3);
    assert_eq!(played.plays(8, &[]), Ok(Heard::Nothing));
    selects(&mut played, "vg/lv", "base:allocation");
    let replies = played.replies();
    let golden = (10, 4, [&word(1)[..], b"base:allocation"].concat());
    assert_eq!(replies[replies.len() - 2..], [golden, (10, 1, vec![])]);
}

#[test]
fn malformed_data_is_invalid_and_a_long_name_is_too_big() {
    let mut played = Played::new(3);
    let long = [text(&"x".repeat(4097)), vec![0, 0]].concat();
    assert_eq!((played.plays(7, &long), played.last()), (Ok(Heard::Nothing), (7, ERR + 9)));
    assert_eq!((played.plays(7, b"\0"), played.last()), (Ok(Heard::Nothing), (7, ERR + 3)));
    assert_eq!(played.plays(1, b"\xff"), Err(Violation::ExportName));
}
