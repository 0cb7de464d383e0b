//! How rows are divided: outer folds estimate performance, inner folds choose the config.
//!
//! A study without inner folds has the bytes that it had before there were any: that they follow is
//! announced in the number of outer folds, which readers of before refuse as too large.
//!
//! Floor: common.

use std::fmt;

use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use serde::ser::{SerializeStruct, Serializer};
use serde::{Deserialize, Serialize};

/// How rows are divided into those that train and those that test.
#[derive(Clone, Debug, PartialEq)]
pub struct Outer {
    pub kind: OuterKind,
    /// Drawn divisions of the rows: the repeats.
    pub partitions: u32,
    /// Outer folds in each partition: 1 for a holdout.
    pub folds: u32,
    /// Classes are dealt evenly. Where the file says nothing: whenever rows are drawn and have classes.
    pub stratify: bool,
    /// Present: configs are chosen within the training rows of each outer fold, by a division of these.
    pub inner: Option<Inner>,
}

impl Outer {
    /// The part of an outer fold's training rows that an inner training sees, the mean over inner folds; 1
    /// without these.
    pub fn inner_share(&self) -> f64 {
        let Some(inner) = &self.inner else { return 1.0 };
        match inner.kind {
            OuterKind::Holdout { share } | OuterKind::Ordered { share: Some(share) } => 1.0 - share,
            // The k-th trains on k of all parts, which are one more than folds.
            OuterKind::Ordered { share: None } => 0.5,
            OuterKind::KFold | OuterKind::LeaveOut => 1.0 - 1.0 / f64::from(inner.folds.max(2)),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum OuterKind {
    KFold,
    /// This share of the rows tests.
    Holdout {
        share: f64,
    },
    /// Each value of the data's `leave_out` column tests once.
    LeaveOut,
    /// In order of the data's `leave_out` column, which holds times here: what tests is later than what
    /// trains. Successive parts test, or the latest `share` of the rows. Programs of before refuse it.
    Ordered {
        share: Option<f64>,
    },
}

/// How the training rows of an outer fold choose each arm's config.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Inner {
    /// Never [`OuterKind::LeaveOut`]: where outer folds are a column's values, inner ones keep these whole.
    /// [`OuterKind::Ordered`] where the outer folds are.
    pub kind: OuterKind,
    /// 1 for a holdout.
    pub folds: u32,
    /// So many seeds choose for all of the study's; `None`: each seed chooses its own config.
    pub tune: Option<u32>,
    pub select: Select,
}

/// Which config the inner scores choose.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum Select {
    /// The best mean over inner folds and tuning seeds.
    Best,
    /// The cheapest whose mean is within one standard error of the best one's.
    OneSe,
    /// The one that is best for most of the tuning seeds.
    Majority,
}

impl Select {
    pub const ALL: [Select; 3] = [Select::Best, Select::OneSe, Select::Majority];

    pub fn name(self) -> &'static str {
        match self {
            Select::Best => "best",
            Select::OneSe => "one-se",
            Select::Majority => "majority",
        }
    }
}

impl Serialize for Outer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let announced = if self.inner.is_some() { INNER } else { 0 };
        let fields = FIELDS.len() - usize::from(self.inner.is_none());
        let mut written = serializer.serialize_struct("Outer", fields)?;
        written.serialize_field(FIELDS[0], &self.kind)?;
        written.serialize_field(FIELDS[1], &self.partitions)?;
        written.serialize_field(FIELDS[2], &(u64::from(self.folds) | announced))?;
        written.serialize_field(FIELDS[3], &self.stratify)?;
        if let Some(inner) = &self.inner {
            written.serialize_field(FIELDS[4], inner)?;
        }
        written.end()
    }
}

impl<'de> Deserialize<'de> for Outer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_struct("Outer", &FIELDS, InOrder)
    }
}

/// Reads the fields one after another: they lie in a sequence wherever they are kept.
struct InOrder;

impl<'de> Visitor<'de> for InOrder {
    type Value = Outer;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the fields of a division")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut fields: A) -> Result<Outer, A::Error> {
        fn next<'de, T: Deserialize<'de>, A: SeqAccess<'de>>(
            fields: &mut A,
        ) -> Result<T, A::Error> {
            fields.next_element()?.ok_or_else(|| A::Error::custom("a division has more fields"))
        }
        let (kind, partitions) = (next(&mut fields)?, next(&mut fields)?);
        let folds: u64 = next(&mut fields)?;
        let stratify = next(&mut fields)?;
        let inner = if folds & INNER == 0 { None } else { Some(next(&mut fields)?) };
        let folds = u32::try_from(folds & !INNER)
            .map_err(|_| A::Error::custom("a division has fewer folds"))?;
        Ok(Outer { kind, partitions, folds, stratify, inner })
    }
}

const FIELDS: [&str; 5] = ["kind", "partitions", "folds", "stratify", "inner"];

/// Above every number of folds: an inner division follows.
const INNER: u64 = 1 << 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::codec::{decode, encode};

    #[test]
    fn an_inner_division_costs_nothing_where_there_is_none() {
        let flat = Outer {
            kind: OuterKind::Holdout { share: 0.2 },
            partitions: 300,
            folds: 1,
            stratify: true,
            inner: None,
        };
        let inner =
            Inner { kind: OuterKind::KFold, folds: 3, tune: Some(2), select: Select::OneSe };
        let nested = Outer { inner: Some(inner), ..flat.clone() };
        let fields = (OuterKind::Holdout { share: 0.2 }, 300u32, 1u32, true);
        assert_eq!(encode(&flat).unwrap(), encode(&fields).unwrap());
        for outer in [flat, nested.clone()] {
            assert_eq!(decode::<Outer>(&encode(&outer).unwrap()).unwrap(), outer);
        }
        for share in [None, Some(0.2)] {
            let ordered = Outer { kind: OuterKind::Ordered { share }, ..nested.clone() };
            assert_eq!(decode::<Outer>(&encode(&ordered).unwrap()).unwrap(), ordered);
            // After the kinds of before, which keep their numbers.
            assert_eq!(encode(&ordered.kind).unwrap()[0], 3);
        }
        // A program of before finds a number of folds that is none.
        let bytes = encode(&nested).unwrap();
        assert!(decode::<(OuterKind, u32, u32)>(&bytes).is_err());
        let many = (OuterKind::KFold, 1u32, 1u64 << 33, true);
        assert!(decode::<Outer>(&encode(&many).unwrap()).is_err());
    }
}
