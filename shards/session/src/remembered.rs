//! The route of the last subject that a connection published to.

use subjects::Route;

const SUBJECT_BYTES_MAX: usize = 40;

/// One subject and where it goes. Publishers mostly repeat themselves.
#[derive(Debug)]
pub struct Remembered {
    /// Zero for none: an index starts to count at one.
    version: u64,
    route: Route,
    length: u8,
    subject: [u8; SUBJECT_BYTES_MAX],
}

impl Default for Remembered {
    fn default() -> Self {
        Self { version: 0, route: Route::default(), length: 0, subject: [0; SUBJECT_BYTES_MAX] }
    }
}

impl Remembered {
    /// The route of `subject`, if it is the one remembered and the index has not changed since.
    #[inline]
    pub fn find(&self, subject: &[u8], version: u64) -> Option<Route> {
        let known = self.version == version && self.subject[..usize::from(self.length)] == *subject;
        known.then_some(self.route)
    }

    /// Remembers a route as of an index's version. Long subjects are not remembered.
    #[inline]
    pub fn note(&mut self, subject: &[u8], version: u64, route: Route) {
        match self.subject.get_mut(..subject.len()) {
            Some(place) => {
                place.copy_from_slice(subject);
                self.length = subject.len() as u8;
                self.version = version;
                self.route = route;
            }
            None => self.version = 0,
        }
    }
}
