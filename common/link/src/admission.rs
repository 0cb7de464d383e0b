//! How many connections each address and each member has, and which addresses guess tokens.
//!
//! A member is a number in a role: replicas are numbered apart, and an agent's connections must
//! never cost a replica of the same number its own.
//!
//! Places are given back when they are dropped, so no path out of a connection can leak one. Time
//! arrives as an argument. Deliberately absent: what the counts are compared with a peer's rights.
//!
//! Floor: shell.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use common::id::MemberId;
use common::wire::message::Role;
use quinn::Connection;

use crate::limits::Limits;

#[derive(Debug)]
pub(crate) struct Admission {
    per_address: usize,
    per_member: usize,
    per_operator: usize,
    refused_joins: usize,
    window: std::time::Duration,
    tables: Mutex<Tables>,
}

/// Why a stranger is not listened to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum TurnedAway {
    TooMany,
    /// `first` since the address was barred: one log line is enough.
    Barred {
        first: bool,
    },
}

impl Admission {
    pub(crate) fn new(limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            per_address: limits.per_address,
            per_member: limits.per_member,
            per_operator: limits.per_operator,
            refused_joins: limits.refused_joins,
            window: limits.refused_joins_window,
            tables: Mutex::default(),
        })
    }

    /// A place for a connection without a certificate.
    pub(crate) fn stranger(
        self: &Arc<Self>,
        address: IpAddr,
        now: Instant,
    ) -> Result<StrangerPlace, TurnedAway> {
        let key = network(address);
        let mut tables = self.tables();
        tables.forget(now);
        let entry = tables.addresses.entry(key).or_default();
        if let Some(bar) = entry.barred.as_mut() {
            return Err(TurnedAway::Barred { first: !std::mem::replace(&mut bar.told, true) });
        }
        if entry.open >= self.per_address {
            return Err(TurnedAway::TooMany);
        }
        entry.open += 1;
        Ok(StrangerPlace { admission: self.clone(), key })
    }

    /// A join from this address was refused.
    pub(crate) fn refused(&self, address: IpAddr, now: Instant) {
        let mut tables = self.tables();
        tables.forget(now);
        let entry = tables.addresses.entry(network(address)).or_default();
        entry.refusals.push_back(now + self.window);
        if entry.refusals.len() >= self.refused_joins {
            entry.refusals.clear();
            entry.barred = Some(Bar { until: now + self.window, told: false });
        }
    }

    /// A place for a member's connection, and the oldest one that has to make room for it.
    pub(crate) fn member(
        self: &Arc<Self>,
        role: Role,
        number: MemberId,
        connection: Connection,
    ) -> (MemberPlace, Option<Connection>) {
        let (member, most) = ((role, number), self.most(role));
        let mut tables = self.tables();
        let serial = tables.next_serial;
        tables.next_serial += 1;
        let open = tables.members.entry(member).or_default();
        let oldest = if open.len() >= most { open.pop_front() } else { None };
        open.push_back((serial, connection));
        let place = MemberPlace { admission: self.clone(), member, serial };
        (place, oldest.map(|(_, connection)| connection))
    }

    fn most(&self, role: Role) -> usize {
        match role {
            Role::Operator => self.per_operator,
            Role::Agent | Role::Peer => self.per_member,
        }
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One stranger's connection, counted until dropped.
#[derive(Debug)]
pub(crate) struct StrangerPlace {
    admission: Arc<Admission>,
    key: IpAddr,
}

impl Drop for StrangerPlace {
    fn drop(&mut self) {
        let mut tables = self.admission.tables();
        if let Some(entry) = tables.addresses.get_mut(&self.key) {
            entry.open = entry.open.saturating_sub(1);
            if entry.is_idle() {
                tables.addresses.remove(&self.key);
            }
        }
    }
}

/// One member's connection, counted until dropped.
#[derive(Debug)]
pub(crate) struct MemberPlace {
    admission: Arc<Admission>,
    member: (Role, MemberId),
    serial: u64,
}

impl Drop for MemberPlace {
    fn drop(&mut self) {
        let mut tables = self.admission.tables();
        if let Some(open) = tables.members.get_mut(&self.member) {
            // Dropped after the lock: a connection's last handle does work of its own.
            let gone = open.iter().position(|(serial, _)| *serial == self.serial);
            let gone = gone.and_then(|at| open.remove(at));
            if open.is_empty() {
                tables.members.remove(&self.member);
            }
            drop(tables);
            drop(gone);
        }
    }
}

#[derive(Debug, Default)]
struct Tables {
    addresses: BTreeMap<IpAddr, Address>,
    /// In order of arrival.
    members: BTreeMap<(Role, MemberId), VecDeque<(u64, Connection)>>,
    next_serial: u64,
}

impl Tables {
    /// Forgets refusals and bars that have ended, and with them addresses that did nothing else.
    fn forget(&mut self, now: Instant) {
        self.addresses.retain(|_, entry| {
            while entry.refusals.front().is_some_and(|until| *until <= now) {
                entry.refusals.pop_front();
            }
            if entry.barred.as_ref().is_some_and(|bar| bar.until <= now) {
                entry.barred = None;
            }
            !entry.is_idle()
        });
    }
}

#[derive(Debug, Default)]
struct Address {
    open: usize,
    /// When each refusal stops counting.
    refusals: VecDeque<Instant>,
    barred: Option<Bar>,
}

#[derive(Debug)]
struct Bar {
    until: Instant,
    told: bool,
}

impl Address {
    fn is_idle(&self) -> bool {
        self.open == 0 && self.refusals.is_empty() && self.barred.is_none()
    }
}

/// What one party is likely to hold: an IPv4 address, an IPv6 /64.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use super::*;
    use crate::limits::{REFUSED_JOINS_MAX, REFUSED_JOINS_WINDOW, UNAUTHENTICATED_PER_ADDRESS_MAX};

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    const THERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));

    fn admission() -> Arc<Admission> {
        Admission::new(&Limits::standard())
    }

    #[test]
    fn an_address_has_eight_strangers_at_once() {
        let (admission, now) = (admission(), Instant::now());
        let mut places: Vec<_> = (0..UNAUTHENTICATED_PER_ADDRESS_MAX)
            .map(|_| admission.stranger(HERE, now).expect("room"))
            .collect();
        assert_eq!(places.len(), 8);
        assert_eq!(admission.stranger(HERE, now).err(), Some(TurnedAway::TooMany));
        assert!(admission.stranger(THERE, now).is_ok());
        places.pop();
        assert!(admission.stranger(HERE, now).is_ok());
    }

    #[test]
    fn ten_refused_joins_a_minute_bar_an_address_for_a_minute() {
        let (admission, start) = (admission(), Instant::now());
        for _ in 0..REFUSED_JOINS_MAX {
            assert!(admission.stranger(HERE, start).is_ok());
            admission.refused(HERE, start);
        }
        let later = start + REFUSED_JOINS_WINDOW - Duration::from_millis(1);
        let barred = |first| Some(TurnedAway::Barred { first });
        assert_eq!(admission.stranger(HERE, start).err(), barred(true));
        assert_eq!(admission.stranger(HERE, later).err(), barred(false));
        assert!(admission.stranger(THERE, later).is_ok());
        assert!(admission.stranger(HERE, start + REFUSED_JOINS_WINDOW).is_ok());
    }

    #[test]
    fn refusals_spread_over_more_than_a_minute_bar_nobody() {
        let (admission, start) = (admission(), Instant::now());
        for n in 0..3 * REFUSED_JOINS_MAX as u32 {
            let now = start + n * REFUSED_JOINS_WINDOW / (REFUSED_JOINS_MAX as u32 - 1);
            assert!(admission.stranger(HERE, now).is_ok(), "refusal {n}");
            admission.refused(HERE, now);
        }
    }

    #[test]
    fn nothing_is_remembered_of_an_address_that_left() {
        let (admission, start) = (admission(), Instant::now());
        drop(admission.stranger(HERE, start).expect("room"));
        admission.refused(THERE, start);
        assert_eq!(admission.tables().addresses.len(), 1);
        admission.tables().forget(start + REFUSED_JOINS_WINDOW);
        assert_eq!(admission.tables().addresses.len(), 0);
    }

    #[test]
    fn an_ipv6_neighbourhood_counts_as_one_address() {
        let parse = |text: &str| text.parse::<IpAddr>().expect("an address");
        assert_eq!(network(parse("2001:db8::1")), network(parse("2001:db8::ffff:2")));
        assert_ne!(network(parse("2001:db8::1")), network(parse("2001:db8:0:1::1")));
        assert_eq!(network(parse("::ffff:192.0.2.1")), HERE);
    }
}
