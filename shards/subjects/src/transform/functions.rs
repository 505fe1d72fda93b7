//! The functions of a destination: `{{name(arguments)}}`, and the older `$1`.

use super::{Cut, Part, TransformFault};

/// A place marker of a destination's token. Indexes count wildcards from one.
#[derive(Debug)]
pub(super) enum Function {
    Wildcard([i64; 1]),
    Partition(Vec<i64>, i32),
    Cut(Cut, [i64; 1], i32),
    Split([i64; 1], Box<[u8]>),
    Random(i32),
}

impl Function {
    /// The wildcards that it names.
    pub(super) fn indexes(&self) -> &[i64] {
        match self {
            Self::Wildcard(index) | Self::Cut(_, index, _) | Self::Split(index, _) => index,
            Self::Partition(indexes, _) => indexes,
            Self::Random(_) => &[],
        }
    }

    /// May it stand where the source has no wildcard?
    pub(super) const fn is_sourceless(&self) -> bool {
        matches!(self, Self::Partition(..) | Self::Random(_))
    }

    /// The part of a transform that it is, given where the wildcards of the source stand.
    pub(super) fn part(self, token: &str, wildcards: &[usize]) -> Result<Part, TransformFault> {
        // Without wildcards a partition is over the whole subject, whatever it names. Zero and
        // below mean the first token of the subject: the reference looks them up in vain.
        let place = |index: i64| match usize::try_from(index - 1) {
            Err(_) => Ok(0),
            Ok(index) => wildcards.get(index).copied().ok_or_else(|| {
                TransformFault::IndexOutOfRange(format!("{token}: [{}]", index + 1))
            }),
        };
        Ok(match self {
            Self::Wildcard([index]) => Part::Token(place(index)?),
            Self::Cut(cut, [index], bytes) => Part::Cut(cut, place(index)?, bytes),
            Self::Split([index], delimiter) => Part::Split(place(index)?, delimiter),
            Self::Random(bound) => Part::Random(bound),
            Self::Partition(indexes, count) => {
                let places = indexes.iter().map(|index| place(*index)).collect::<Result<_, _>>()?;
                Part::Partition(places, count)
            }
        })
    }
}

/// The functions by name, in the order in which they are looked for.
const NAMES: [(&str, Name); 10] = [
    ("wildcard", Name::Wildcard),
    ("partition", Name::Partition),
    ("splitfromleft", Name::Cut(Cut::SplitFromLeft)),
    ("splitfromright", Name::Cut(Cut::SplitFromRight)),
    ("slicefromleft", Name::Cut(Cut::SliceFromLeft)),
    ("slicefromright", Name::Cut(Cut::SliceFromRight)),
    ("right", Name::Cut(Cut::Right)),
    ("left", Name::Cut(Cut::Left)),
    ("split", Name::Split),
    ("random", Name::Random),
];

#[derive(Clone, Copy)]
enum Name {
    Wildcard,
    Partition,
    Cut(Cut),
    Split,
    Random,
}

/// What a token of a destination asks for; nothing if it stands for itself.
pub(super) fn function_of(token: &str) -> Result<Option<Function>, TransformFault> {
    if let Some(number) = token.strip_prefix('$') {
        // Much begins with a dollar that is no marker.
        return Ok(number.parse().ok().map(|index| Function::Wildcard([index])));
    }
    if !is_marked(token) {
        return Ok(None);
    }
    for (name, which) in NAMES {
        if let Some(arguments) = arguments_of(token, name) {
            return read(token, which, &arguments).map(Some);
        }
    }
    Err(TransformFault::UnknownFunction(token.into()))
}

fn read(token: &str, name: Name, arguments: &[&str]) -> Result<Function, TransformFault> {
    let too_few = || TransformFault::NotEnoughArguments(token.into());
    let too_many = || TransformFault::TooManyArguments(token.into());
    let invalid = || TransformFault::InvalidArgument(token.into());
    let index = |text: &str| text.trim_matches(' ').parse::<i64>().map_err(|_| invalid());
    let count = |text: &str| match index(text)? {
        number if number > i64::from(i32::MAX) => Err(invalid()),
        // As wide as the reference keeps it.
        number => Ok(number as i32),
    };
    match name {
        Name::Wildcard => match arguments {
            [""] => Err(too_few()),
            [only] => Ok(Function::Wildcard([index(only)?])),
            _ => Err(too_many()),
        },
        Name::Partition => {
            let (first, rest) = arguments.split_first().ok_or_else(too_few)?;
            let count = count(first)?;
            let indexes = rest.iter().map(|text| index(text)).collect::<Result<_, _>>()?;
            Ok(Function::Partition(indexes, count))
        }
        Name::Cut(cut) => match arguments {
            [place, bytes] => {
                let place = index(place)?;
                let bytes = bytes.trim_matches(' ').parse().map_err(|_| invalid())?;
                Ok(Function::Cut(cut, [place], bytes))
            }
            [] | [_] => Err(too_few()),
            _ => Err(too_many()),
        },
        Name::Split => match arguments {
            [place, delimiter] => {
                let place = index(place)?;
                if delimiter.contains([' ', '.']) {
                    return Err(invalid());
                }
                Ok(Function::Split([place], delimiter.as_bytes().into()))
            }
            [] | [_] => Err(too_few()),
            _ => Err(too_many()),
        },
        Name::Random => match arguments {
            [bound] => Ok(Function::Random(count(bound)?)),
            _ => Err(too_few()),
        },
    }
}

/// Does the token stand in double braces?
pub(super) fn is_marked(token: &str) -> bool {
    token.len() > 4 && token.starts_with("{{") && token.ends_with("}}")
}

/// Does the token name a function that account mappings may use?
pub(super) fn is_known_to_mappings(token: &str) -> bool {
    let known = |name: &str| !matches!(name, "left" | "right");
    NAMES.iter().any(|(name, _)| known(name) && arguments_of(token, name).is_some())
}

/// Is the token a `wildcard` with one argument?
pub(super) fn is_wildcard(token: &str) -> bool {
    arguments_of(token, "wildcard").is_some_and(|arguments| {
        let [only] = arguments[..] else { return false };
        !only.is_empty()
    })
}

/// The arguments of a function, if the token has it: `{{ name ( … ) }}`, white space where shown.
/// A capital may stand where the name has the first letter of a word.
fn arguments_of<'a>(token: &'a str, name: &str) -> Option<Vec<&'a str>> {
    let space = [' ', '\t', '\n', '\x0c', '\r'];
    for (at, _) in token.match_indices("{{") {
        let text = token[at + 2..].trim_start_matches(space);
        let Some(named) = text.get(..name.len()).filter(|named| is_named(named, name)) else {
            continue;
        };
        let text = text[named.len()..].trim_start_matches(space);
        let Some(inside) = text.strip_prefix('(') else { continue };
        // The last closing that ends the token's braces.
        let ends = inside.rmatch_indices(')');
        let end = ends
            .map(|(end, _)| end)
            .find(|end| inside[end + 1..].trim_start_matches(space).starts_with("}}"));
        let Some(end) = end else { continue };
        let mut arguments = inside[..end].split(',');
        let first = arguments.next()?;
        return Some(
            std::iter::once(first)
                .chain(arguments.map(|text| text.trim_start_matches(space)))
                .collect(),
        );
    }
    None
}

/// Is this the name, with capitals only where a word begins?
fn is_named(text: &str, name: &str) -> bool {
    let begins = |place: usize| {
        place == 0
            || ["from", "left", "right"]
                .iter()
                .any(|word| name.len() > word.len() && name[place..].starts_with(word))
    };
    text.bytes().zip(name.bytes()).enumerate().all(|(place, (given, wanted))| {
        given == wanted || (begins(place) && given == wanted.to_ascii_uppercase())
    })
}
