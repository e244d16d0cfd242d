//! Things that are numbered as they come and go.
//!
//! What must hold:
//! - A number is given to one thing at a time; after a removal it may be given again.
//! - Asking for what is not there is `None`, never another thing's panic.

/// Where a thing is.
pub(crate) type Key = usize;

/// Things by their number.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    places: Vec<Option<T>>,
    free: Vec<Key>,
}

impl<T> Slab<T> {
    pub(crate) const fn new() -> Self {
        Self { places: Vec::new(), free: Vec::new() }
    }

    pub(crate) fn insert(&mut self, thing: T) -> Key {
        if let Some(key) = self.free.pop()
            && let Some(place) = self.places.get_mut(key)
        {
            *place = Some(thing);
            return key;
        }
        self.places.push(Some(thing));
        self.places.len().saturating_sub(1)
    }

    pub(crate) fn get(&self, key: Key) -> Option<&T> {
        self.places.get(key)?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        self.places.get_mut(key)?.as_mut()
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        let thing = self.places.get_mut(key)?.take()?;
        self.free.push(key);
        Some(thing)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.places.iter().enumerate().filter_map(|(key, place)| Some((key, place.as_ref()?)))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.places.len() == self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::Slab;

    #[test]
    fn a_number_is_given_to_one_thing_at_a_time() {
        let mut slab = Slab::new();
        let (a, b) = (slab.insert('a'), slab.insert('b'));
        assert_ne!(a, b);
        assert_eq!(slab.remove(a), Some('a'));
        assert_eq!((slab.remove(a), slab.get(a), slab.get(b)), (None, None, Some(&'b')));
        let c = slab.insert('c');
        assert_ne!(c, b);
        assert_eq!(slab.get_mut(c), Some(&mut 'c'));
        slab.remove(b);
        slab.remove(c);
        assert!(slab.is_empty());
    }
}
