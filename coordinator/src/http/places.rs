//! How many connections are open at once, in all and from one address.
//!
//! Floor: shell.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The connections that are open, and how many there may be.
#[derive(Clone)]
pub struct Places {
    taken: Arc<Mutex<BTreeMap<IpAddr, usize>>>,
    most: usize,
    most_each: usize,
}

/// One connection, until it is dropped.
pub struct Place {
    places: Places,
    address: IpAddr,
}

impl Places {
    pub fn new(most: usize, most_each: usize) -> Self {
        Self { taken: Arc::default(), most, most_each }
    }

    /// `None`: too many are open.
    pub fn take(&self, address: IpAddr) -> Option<Place> {
        let mut taken = self.taken();
        let own = taken.get(&address).copied().unwrap_or(0);
        if own >= self.most_each || taken.values().sum::<usize>() >= self.most {
            return None;
        }
        taken.insert(address, own + 1);
        Some(Place { places: self.clone(), address })
    }

    fn taken(&self) -> MutexGuard<'_, BTreeMap<IpAddr, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        match taken.get_mut(&self.address) {
            Some(own) if *own > 1 => *own -= 1,
            _ => _ = taken.remove(&self.address),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_cannot_take_all_places() {
        let places = Places::new(5, 2);
        let [one, two, three] = [1, 2, 3].map(|n| IpAddr::from([10, 0, 0, n]));
        let kept = [places.take(one), places.take(one)];
        assert!(kept.iter().all(Option::is_some));
        assert!(places.take(one).is_none());
        let others = [places.take(two), places.take(two), places.take(three)];
        assert!(others.iter().all(Option::is_some));
        assert!(places.take(three).is_none(), "five in all");
    }

    #[test]
    fn a_connection_that_ended_leaves_its_place() {
        let places = Places::new(1, 1);
        let address = IpAddr::from([10, 0, 0, 1]);
        drop(places.take(address).expect("a place"));
        assert!(places.taken().is_empty());
        assert!(places.take(address).is_some());
    }
}
