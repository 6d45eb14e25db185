//! Names of classes and functions behind the place where a stream breaks for this reader. Another reader may take what broke it,
//! and go on: what it would reach there must be seen, although nothing is built of it.

use crate::limits::Limits;
use crate::pickle::decode::{Decoder, Op};
use crate::pickle::oddity::Mention;

/// More names are not kept; those of a stream that is no pickle are chance.
const MAX_MENTIONS: usize = 1_000;
/// Opcodes that do not decode; behind so many it is no pickle.
const MAX_BREAKS: usize = 100_000;
/// Texts without an end, each of which is looked for to the end of the stream.
const MAX_ENDLESS: usize = 16;

/// The names in what `decoder` has not read yet.
pub(super) fn of_the_rest(mut decoder: Decoder<'_>, limits: &Limits) -> Vec<Mention> {
    let mut mentions = Vec::new();
    let mut texts: [Option<&[u8]>; 2] = [None; 2];
    let (mut breaks, mut endless) = (0, 0);
    while mentions.len() < MAX_MENTIONS && breaks < MAX_BREAKS && endless < MAX_ENDLESS {
        let before = decoder.position();
        match decoder.next_op() {
            Ok((offset, Op::Global { module, name } | Op::Inst { module, name })) => {
                mentions.extend(Mention::new(decoder.place(offset), module, name, limits));
            }
            Ok((offset, Op::StackGlobal)) => {
                let [module, name] = texts.map(|text| text.and_then(|text| std::str::from_utf8(text).ok()));
                mentions.extend(module.zip(name).and_then(|(module, name)| Mention::new(decoder.place(offset), module, name, limits)));
            }
            Ok((_, Op::Text(text) | Op::Str(text))) => texts = [texts[1], Some(text)],
            Ok(_) => {}
            Err(_) if decoder.is_at_the_end() => break,
            Err(_) => {
                breaks += 1;
                endless += usize::from(decoder.position() == before + 1 && decoder.starts_a_line(before));
            }
        }
    }
    mentions
}
