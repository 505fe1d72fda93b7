//! What one core keeps on disk: its journal, and the segments of its streams.
