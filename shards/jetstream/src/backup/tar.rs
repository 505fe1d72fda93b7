//! As much of the tar format (POSIX.1-2001) as snapshots need: regular files, with names and sizes
//! in extended headers where they do not fit.

/// Bytes of a header, and what contents are filled up to.
const BLOCK: usize = 512;
/// Bytes of an extended header at most.
const EXTENDED_BYTES_MAX: u64 = 64 * 1024;

/// Appends a file.
pub(crate) fn put_file(out: &mut Vec<u8>, name: &str, seconds: i64, contents: &[u8]) {
    if name.len() > 100 {
        let body = extended("path", name);
        put_entry(out, "PaxHeaders.0/long", b'x', seconds, body.as_bytes());
    }
    put_entry(out, name, b'0', seconds, contents);
}

/// Appends the end of an archive.
pub(crate) fn put_end(out: &mut Vec<u8>) {
    out.resize(out.len() + 2 * BLOCK, 0);
}

/// A record of an extended header: its own length in front.
fn extended(key: &str, value: &str) -> String {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while rest + length.to_string().len() != length {
        length += 1;
    }
    format!("{length} {key}={value}\n")
}

fn put_entry(out: &mut Vec<u8>, name: &str, kind: u8, seconds: i64, contents: &[u8]) {
    let mut header = [0_u8; BLOCK];
    let mut put = |at: usize, text: &[u8]| header[at..at + text.len()].copy_from_slice(text);
    let name = name.as_bytes();
    put(0, &name[..name.len().min(100)]);
    put(100, b"0000600\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{:011o}\0", contents.len()).as_bytes());
    put(136, format!("{:011o}\0", seconds.clamp(0, 0o77_777_777_777)).as_bytes());
    put(148, b"        ");
    put(156, &[kind]);
    put(257, b"ustar\x0000");
    put(265, b"nats\0");
    put(297, b"nats\0");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    out.extend_from_slice(&header);
    out.extend_from_slice(contents);
    out.resize(out.len().next_multiple_of(BLOCK), 0);
}

/// What an archive holds next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// A file begins.
    File(String),
    /// Bytes of it.
    Contents(Vec<u8>),
    /// It has ended.
    End,
}

/// Takes an archive apart as it comes.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    waiting: Vec<u8>,
    stage: Stage,
    long_name: Option<String>,
    /// Bytes behind the file at hand that fill it up.
    padding: u64,
    is_over: bool,
}

#[derive(Debug, Default)]
enum Stage {
    #[default]
    Header,
    Extended {
        left: u64,
    },
    File {
        left: u64,
    },
    Padding {
        left: usize,
    },
}

impl Reader {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.waiting.extend_from_slice(bytes);
    }

    /// Has the end of the archive been read?
    pub(crate) fn is_over(&self) -> bool {
        self.is_over
    }

    /// The next piece, as far as it has come.
    ///
    /// # Errors
    /// If this is no such archive.
    pub(crate) fn next(&mut self) -> Result<Option<Piece>, &'static str> {
        loop {
            match self.stage {
                Stage::Header => {
                    if self.waiting.len() < BLOCK || self.is_over {
                        return Ok(None);
                    }
                    let header: Vec<u8> = self.waiting.drain(..BLOCK).collect();
                    if let Some(name) = self.begin(&header)? {
                        return Ok(Some(Piece::File(name)));
                    }
                }
                Stage::Extended { left } => {
                    let size = left as usize;
                    if self.waiting.len() < size {
                        return Ok(None);
                    }
                    let records: Vec<u8> = self.waiting.drain(..size).collect();
                    self.long_name = path_in(&records).or(self.long_name.take());
                    self.stage = Stage::Padding { left: size.next_multiple_of(BLOCK) - size };
                }
                Stage::File { left: 0 } => {
                    self.stage = Stage::Padding { left: self.padding as usize };
                    return Ok(Some(Piece::End));
                }
                Stage::File { left } => {
                    if self.waiting.is_empty() {
                        return Ok(None);
                    }
                    return Ok(Some(self.contents(left)));
                }
                Stage::Padding { left } => {
                    if self.waiting.len() < left {
                        return Ok(None);
                    }
                    self.waiting.drain(..left);
                    self.stage = Stage::Header;
                }
            }
        }
    }

    /// A header begins a file, whose name it returns, or something that is dealt with here.
    fn begin(&mut self, header: &[u8]) -> Result<Option<String>, &'static str> {
        if header.iter().all(|byte| *byte == 0) {
            self.is_over = true;
            return Ok(None);
        }
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        let own: u32 = header[148..156].iter().map(|byte| u32::from(*byte)).sum();
        if octal(&header[148..156]) != Some(u64::from(sum - own + 8 * u32::from(b' '))) {
            return Err("archive/tar: invalid tar header");
        }
        let size = octal(&header[124..136]).ok_or("archive/tar: invalid tar header")?;
        match header[156] {
            b'x' if size <= EXTENDED_BYTES_MAX => self.stage = Stage::Extended { left: size },
            b'0' | 0 => {
                let end = header[..100].iter().position(|byte| *byte == 0).unwrap_or(100);
                let name = String::from_utf8_lossy(&header[..end]).into_owned();
                self.stage = Stage::File { left: size };
                self.padding = size.next_multiple_of(BLOCK as u64) - size;
                return Ok(Some(self.long_name.take().unwrap_or(name)));
            }
            _ => return Err("unexpected content"),
        }
        Ok(None)
    }

    fn contents(&mut self, left: u64) -> Piece {
        let count = self.waiting.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let bytes = self.waiting.drain(..count).collect();
        self.stage = Stage::File { left: left - count as u64 };
        Piece::Contents(bytes)
    }
}

fn octal(field: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(field).ok()?;
    u64::from_str_radix(text.trim_matches(['\0', ' ']), 8).ok()
}

/// The name that an extended header gives to the file behind it.
fn path_in(records: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(records);
    let mut lines = text.split('\n').filter_map(|line| line.split_once(' '));
    lines.find_map(|(_, record)| record.strip_prefix("path=").map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_come_back_however_the_archive_is_cut() {
        let long = format!("obs/{}/meta.inf", "n".repeat(200));
        let files = [("a", vec![7; 1000]), (&long[..], b"xyz".to_vec()), ("empty", Vec::new())];
        let mut archive = Vec::new();
        for (name, contents) in &files {
            put_file(&mut archive, name, 1_700_000_000, contents);
        }
        put_end(&mut archive);
        assert_eq!(archive.len() % BLOCK, 0);
        for size in [1, 13, 512, archive.len()] {
            let mut reader = Reader::default();
            let mut found: Vec<(String, Vec<u8>)> = Vec::new();
            for part in archive.chunks(size) {
                reader.push(part);
                while let Some(piece) = reader.next().expect("it is sound") {
                    match piece {
                        Piece::File(name) => found.push((name, Vec::new())),
                        Piece::Contents(bytes) => {
                            found.last_mut().expect("a file").1.extend(bytes);
                        }
                        Piece::End => {}
                    }
                }
            }
            assert!(reader.is_over());
            let expected = files.iter().map(|(name, contents)| ((*name).into(), contents.clone()));
            assert_eq!(found, expected.collect::<Vec<_>>());
        }
        archive[0] ^= 1;
        let mut reader = Reader::default();
        reader.push(&archive);
        assert!(reader.next().is_err());
    }
}
