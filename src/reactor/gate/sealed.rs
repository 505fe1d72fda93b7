//! Bytes as they go to a socket: what was made of a connection's output.

/// Bytes on their way to a socket.
#[derive(Debug, Default)]
pub(crate) struct Sealed {
    /// All of it is initialised, so that records are written into it in place.
    buffer: Vec<u8>,
    filled: usize,
    sent: usize,
}

impl Sealed {
    pub(crate) fn unsent(&self) -> &[u8] {
        &self.buffer[self.sent..self.filled]
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.sent == self.filled
    }

    /// Room for `bytes` more; what is written there counts once [`Sealed::fill`] says so.
    pub(crate) fn room(&mut self, bytes: usize) -> &mut [u8] {
        let needed = self.filled + bytes;
        if self.buffer.len() < needed {
            self.buffer.resize(needed.next_power_of_two(), 0);
        }
        &mut self.buffer[self.filled..needed]
    }

    pub(crate) fn fill(&mut self, bytes: usize) {
        self.filled += bytes;
        assert!(self.filled <= self.buffer.len(), "more was written than there is room");
    }

    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        self.room(bytes.len()).copy_from_slice(bytes);
        self.fill(bytes.len());
    }

    /// The socket took so many bytes.
    pub(crate) fn advance(&mut self, bytes: usize) {
        self.sent += bytes;
        assert!(self.sent <= self.filled, "no more is sent than there is");
        if self.is_empty() {
            self.filled = 0;
            self.sent = 0;
        }
    }

    /// Swaps buffers with one that has nothing to send, so that a connection holds none meanwhile.
    pub(crate) fn trade(&mut self, other: &mut Self) {
        assert!(self.is_empty() && other.is_empty(), "what is to be sent stays");
        std::mem::swap(self, other);
    }

    pub(crate) const fn has_buffer(&self) -> bool {
        self.buffer.capacity() > 0
    }
}
