//! Messages on the way in and out of a stream of bytes.

use std::io::{self, BufRead, Read, Write};

use crate::options::Delimiter;

/// Splits an input into messages.
#[derive(Debug)]
pub struct Records<R> {
    input: R,
    delimiter: Delimiter,
    size_max: usize,
    /// How many there have been.
    count: u64,
    /// Whether the input has ended. A terminal goes on after that, and is not to be asked again.
    is_over: bool,
}

/// Why there is no next message, but an end either.
#[derive(Debug)]
pub enum RecordError {
    Input(io::Error),
    /// Which one, and what is wrong with it.
    Malformed(String, String),
}

impl From<io::Error> for RecordError {
    fn from(error: io::Error) -> Self {
        Self::Input(error)
    }
}

impl<R: BufRead> Records<R> {
    /// No message has more than `size_max` bytes.
    pub fn new(input: R, delimiter: Delimiter, size_max: usize) -> Self {
        Self { input, delimiter, size_max, count: 0, is_over: false }
    }

    /// Puts the next message into `record`; `false` at the end of the input.
    pub fn next(&mut self, record: &mut Vec<u8>) -> Result<bool, RecordError> {
        record.clear();
        if self.is_over {
            return Ok(false);
        }
        let found = match self.delimiter {
            Delimiter::Byte(byte) => self.next_ended_by(byte, record)?,
            Delimiter::Length => self.next_of_given_length(record)?,
        };
        self.count += u64::from(found);
        Ok(found)
    }

    fn next_ended_by(&mut self, byte: u8, record: &mut Vec<u8>) -> Result<bool, RecordError> {
        let limit = self.size_max as u64 + 1;
        self.input.by_ref().take(limit).read_until(byte, record)?;
        if record.last() == Some(&byte) {
            record.pop();
            return Ok(true);
        }
        if record.len() > self.size_max {
            return Err(self.malformed(format_args!("has more than {}", self.limit())));
        }
        // The last one may do without.
        self.is_over = true;
        Ok(!record.is_empty())
    }

    fn next_of_given_length(&mut self, record: &mut Vec<u8>) -> Result<bool, RecordError> {
        let mut length = [0; 4];
        let read = self.input.by_ref().take(4).read_to_end(record)?;
        if read == 0 {
            return Ok(false);
        }
        if read < length.len() {
            return Err(self.malformed(format_args!("ends within its length")));
        }
        length.copy_from_slice(record);
        let length = u32::from_le_bytes(length);
        if length as usize > self.size_max {
            let limit = self.limit();
            return Err(self.malformed(format_args!("has {length} bytes, more than {limit}")));
        }
        record.clear();
        let read = self.input.by_ref().take(length.into()).read_to_end(record)?;
        if read < length as usize {
            return Err(self.malformed(format_args!("ends after {read} of {length} bytes")));
        }
        Ok(true)
    }

    /// As many bytes as a message can have, and what to do about more.
    fn limit(&self) -> String {
        format!(
            "the {} bytes that the queue takes (an eighth of its capacity): send it in parts, or create the queue with a larger capacity",
            self.size_max
        )
    }

    fn malformed(&self, what: std::fmt::Arguments<'_>) -> RecordError {
        let kind = match self.delimiter {
            Delimiter::Byte(b'\n') => "line",
            _ => "message",
        };
        RecordError::Malformed(format!("{kind} {}", self.count + 1), what.to_string())
    }
}

/// Writes a message so that [`Records`] can read it back.
pub fn write(output: &mut impl Write, payload: &[u8], delimiter: Delimiter) -> io::Result<()> {
    match delimiter {
        Delimiter::Byte(byte) => {
            output.write_all(payload)?;
            output.write_all(&[byte])
        }
        Delimiter::Length => {
            let length = u32::try_from(payload.len()).map_err(io::Error::other)?;
            output.write_all(&length.to_le_bytes())?;
            output.write_all(payload)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(input: &[u8], delimiter: Delimiter) -> (Vec<Vec<u8>>, Option<String>) {
        let mut records = Records::new(input, delimiter, 8);
        let (mut all, mut record) = (Vec::new(), Vec::new());
        loop {
            match records.next(&mut record) {
                Ok(true) => all.push(record.clone()),
                Ok(false) => return (all, None),
                Err(RecordError::Malformed(which, what)) => {
                    return (all, Some(format!("{which} {what}")));
                }
                Err(RecordError::Input(error)) => panic!("{error}"),
            }
        }
    }

    const LINES: Delimiter = Delimiter::Byte(b'\n');

    #[test]
    fn lines_keep_their_bytes_and_the_last_may_lack_its_end() {
        let (records, error) = read(b"a\n\n\r\0\xff\n12345678\nlast", LINES);
        assert_eq!(records, [&b"a"[..], b"", b"\r\0\xff", b"12345678", b"last"]);
        assert_eq!(error, None);
        assert_eq!(read(b"", LINES), (vec![], None));
    }

    #[test]
    fn a_line_too_long_is_named() {
        let (records, error) = read(b"a\n123456789\n", LINES);
        assert_eq!(records, [b"a"]);
        assert!(
            error.unwrap().starts_with("line 2 has more than the 8 bytes that the queue takes")
        );
        assert!(read(b"123456789", LINES).1.is_some());
        assert!(read(b"12345678", LINES).1.is_none());
    }

    #[test]
    fn lengths_that_lie_are_named() {
        for (input, what) in [
            (&b"\x01"[..], "message 1 ends within its length"),
            (b"\x00\x00\x00\x00\x03\x00\x00\x00ab", "message 2 ends after 2 of 3 bytes"),
            (b"\xff\xff\xff\xff", "message 1 has 4294967295 bytes, more than the 8 bytes"),
        ] {
            let error = read(input, Delimiter::Length).1.unwrap();
            assert!(error.starts_with(what), "{error}");
        }
    }

    #[test]
    fn what_was_written_reads_back() {
        let payloads: [&[u8]; 4] = [b"", b"a", b"12345678", b"\x00\xff"];
        for delimiter in [LINES, Delimiter::Byte(b';'), Delimiter::Length] {
            let mut stream = Vec::new();
            for payload in payloads {
                write(&mut stream, payload, delimiter).unwrap();
            }
            let (records, error) = read(&stream, delimiter);
            assert_eq!(
                (records.as_slice(), error),
                (payloads.map(<[u8]>::to_vec).as_slice(), None)
            );
        }
    }
}
