//! Arrays of numbers, as numpy and IDX files hold them.
//!
//! An array's shape is compared with the bytes behind it before anything is allocated for it, and its
//! numbers go one by one to where they shall be: no second copy is held. Deliberately absent:
//! objects, records, dates and complex numbers.
//!
//! Floor: common.

use flate2::Crc;

use super::SampleError;
use super::inflate::{RATIO_MAX, inflate};
use crate::table::{Column, Values};

/// An array that was found, unread.
#[derive(Clone, Debug)]
pub struct Array<'a> {
    pub name: String,
    /// Rows first.
    pub shape: Vec<usize>,
    pub element: Element,
    /// The first place moves fastest.
    pub fortran: bool,
    body: Body<'a>,
    /// Bytes before the numbers.
    header: usize,
    /// Of the whole file, where something says it.
    sum: Option<u32>,
}

/// How one entry is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Element {
    pub kind: Kind,
    /// Bytes.
    pub size: usize,
    pub big_endian: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Bool,
    Unsigned,
    Signed,
    Float,
    /// UTF-32, filled up with zeros.
    Text,
}

/// Where an array's file is.
#[derive(Clone, Copy, Debug)]
pub enum Body<'a> {
    Plain(&'a [u8]),
    Deflated(&'a [u8]),
}

impl<'a> Body<'a> {
    /// Its first bytes, up to `count`.
    fn head(&self, count: usize) -> Option<Vec<u8>> {
        let mut head = Vec::new();
        self.pieces(&mut |piece| {
            head.extend(&piece[..piece.len().min(count - head.len())]);
            head.len() < count
        })?;
        Some(head)
    }

    fn pieces(&self, each: &mut dyn FnMut(&[u8]) -> bool) -> Option<()> {
        match self {
            Body::Plain(bytes) => {
                each(bytes);
                Some(())
            }
            Body::Deflated(bytes) => inflate(bytes, each).map(|_| ()),
        }
    }

    /// Bytes that it cannot have more than.
    fn most(&self) -> usize {
        match self {
            Body::Plain(bytes) => bytes.len(),
            Body::Deflated(bytes) => bytes.len().saturating_add(1).saturating_mul(RATIO_MAX),
        }
    }
}

impl<'a> Array<'a> {
    /// An array in numpy's format, version 1 to 3.
    pub fn npy(name: &str, body: Body<'a>) -> Result<Self, SampleError> {
        let damaged = |why| SampleError::Damaged { name: name.to_string(), why };
        let head = body.head(HEADER_MAX).ok_or_else(|| damaged("is cut short"))?;
        let (length, text) = match head.strip_prefix(b"\x93NUMPY") {
            Some([1, _, a, b, text @ ..]) => (u32::from_le_bytes([*a, *b, 0, 0]), text),
            Some([2 | 3, _, a, b, c, d, text @ ..]) => (u32::from_le_bytes([*a, *b, *c, *d]), text),
            _ => return Err(damaged("is no numpy array")),
        };
        let start = head.len() - text.len();
        let text = text.get(..length as usize).ok_or_else(|| damaged("has a broken header"))?;
        let text = String::from_utf8_lossy(text);
        let value = |key: &str| text.split_once(&format!("'{key}':")).map(|(_, rest)| rest.trim());
        let broken = || damaged("has a broken header");
        let descr = value("descr").ok_or_else(broken)?;
        let descr = descr.strip_prefix('\'').and_then(|rest| rest.split_once('\''));
        let Some((descr, _)) = descr else {
            return Err(SampleError::Kind { name: name.to_string(), kind: "records".to_string() });
        };
        let shape = value("shape").and_then(|rest| rest.strip_prefix('(')?.split_once(')'));
        let sides = shape.ok_or_else(broken)?.0.split(',').map(str::trim);
        let shape: Option<Vec<usize>> =
            sides.filter(|side| !side.is_empty()).map(|side| side.parse().ok()).collect();
        let array = Self {
            name: name.to_string(),
            shape: shape.ok_or_else(broken)?,
            element: element(name, descr)?,
            fortran: value("fortran_order").ok_or_else(broken)?.starts_with("True"),
            body,
            header: start + length as usize,
            sum: None,
        };
        array.check_length()?;
        Ok(array)
    }

    /// An array in the format of MNIST's files: big-endian, its sides in the header.
    pub fn idx(name: &str, bytes: &'a [u8]) -> Result<Self, SampleError> {
        let damaged = |why| SampleError::Damaged { name: name.to_string(), why };
        let [0, 0, code, sides, rest @ ..] = bytes else {
            return Err(damaged("is no IDX file"));
        };
        let (kind, size) = match code {
            0x08 => (Kind::Unsigned, 1),
            0x09 => (Kind::Signed, 1),
            0x0b => (Kind::Signed, 2),
            0x0c => (Kind::Signed, 4),
            0x0d => (Kind::Float, 4),
            0x0e => (Kind::Float, 8),
            _ => return Err(damaged("is no IDX file")),
        };
        let header = usize::from(*sides) * 4;
        let sides = rest.get(..header).ok_or_else(|| damaged("has a broken header"))?;
        let side = |bytes: &[u8]| bytes.iter().fold(0, |sum, &byte| (sum << 8) | usize::from(byte));
        let array = Self {
            name: name.to_string(),
            shape: sides.chunks_exact(4).map(side).collect(),
            element: Element { kind, size, big_endian: true },
            fortran: false,
            body: Body::Plain(bytes),
            header: 4 + header,
            sum: None,
        };
        array.check_length()?;
        Ok(array)
    }

    /// The same array of a file with this sum.
    pub fn of_sum(self, sum: u32) -> Self {
        Self { sum: Some(sum), ..self }
    }

    /// Entries in all; what a shape says that no memory holds is refused when the array is found.
    pub fn count(&self) -> usize {
        self.shape.iter().fold(1, |count: usize, &side| count.saturating_mul(side))
    }

    pub fn rows(&self) -> usize {
        self.shape.first().copied().unwrap_or(0)
    }

    /// `float64 (3, 4)`, as numpy would say.
    pub fn in_words(&self) -> String {
        let bits = self.element.size * 8;
        let kind = match self.element.kind {
            Kind::Bool => "bool".to_string(),
            Kind::Unsigned => format!("uint{bits}"),
            Kind::Signed => format!("int{bits}"),
            Kind::Float => format!("float{bits}"),
            Kind::Text => "text".to_string(),
        };
        format!("{kind} {}", shape_in_words(&self.shape))
    }

    pub fn is_whole(&self) -> bool {
        matches!(self.element.kind, Kind::Bool | Kind::Unsigned | Kind::Signed)
    }

    /// All numbers, row after row.
    pub fn numbers<T: Copy + Default>(
        &self,
        mut of: impl FnMut(f64) -> T,
    ) -> Result<Vec<T>, SampleError> {
        let element = self.element;
        if element.kind == Kind::Text {
            return Err(SampleError::Kind { name: self.name.clone(), kind: "text".to_string() });
        }
        let mut values = Vec::new();
        let mut places = self.fortran.then(|| Places::of(&self.shape));
        if places.is_some() {
            values.resize(self.count(), T::default());
        } else {
            values.reserve_exact(self.count());
        }
        self.entries(&mut |bytes| {
            let value = of(element.number(bytes));
            match places.as_mut() {
                Some(places) => {
                    if let Some(there) = values.get_mut(places.next()) {
                        *there = value;
                    }
                }
                None => values.push(value),
            }
        })?;
        Ok(values)
    }

    /// An array of one entry a row as a column of a table.
    pub fn column(&self) -> Result<Column, SampleError> {
        let values = match self.element.kind {
            Kind::Text => {
                let mut texts = Vec::new();
                let big_endian = self.element.big_endian;
                self.entries(&mut |bytes| {
                    texts.push(Some(text(bytes, big_endian)).filter(|text| !text.is_empty()));
                })?;
                Values::Text(texts)
            }
            Kind::Bool => {
                let mut texts = Vec::new();
                self.entries(&mut |bytes| {
                    texts.push(Some((bytes != [0]).to_string()));
                })?;
                Values::Text(texts)
            }
            _ => Values::Numbers(self.numbers(|number| number)?),
        };
        Ok(Column { name: self.name.clone(), values })
    }

    /// The array's file with, for each row and giver, the giver's entries in the row: those of place
    /// `only` within a row, or all.
    pub fn with_entries_of(
        &self,
        givers: &[(u32, u32)],
        only: Option<usize>,
    ) -> Result<Vec<u8>, SampleError> {
        let (rows, size) = (self.rows(), self.element.size);
        let of_row = self.count() / rows.max(1);
        let no_row = |row: u32| SampleError::Entry {
            name: self.name.clone(),
            value: row.to_string(),
            expected: "it is no row of the array",
        };
        let places = match only {
            None => 0..of_row,
            Some(place) if place < of_row => place..place + 1,
            Some(place) => return Err(no_row(place as u32)),
        };
        let mut file = Vec::new();
        let whole = self.body.pieces(&mut |piece| {
            file.extend(piece);
            file.len() <= self.body.most()
        });
        let damaged = || SampleError::Damaged { name: self.name.clone(), why: "is cut short" };
        whole.ok_or_else(damaged)?;
        let start = |row: usize, place: usize| {
            let entry = if self.fortran { place * rows + row } else { row * of_row + place };
            self.header + entry * size
        };
        let mut given = Vec::with_capacity(givers.len() * places.len() * size);
        for (row, giver) in givers {
            if let Some(none) = [row, giver].into_iter().find(|row| **row as usize >= rows) {
                return Err(no_row(*none));
            }
            for place in places.clone() {
                let from = start(*giver as usize, place);
                given.extend(file.get(from..from + size).ok_or_else(damaged)?);
            }
        }
        let mut given = given.chunks_exact(size);
        for (row, _) in givers {
            for (place, entry) in places.clone().zip(&mut given) {
                let to = start(*row as usize, place);
                file.get_mut(to..to + size).ok_or_else(damaged)?.copy_from_slice(entry);
            }
        }
        Ok(file)
    }

    /// Gives `each` the bytes of every entry, in the file's order.
    fn entries(&self, each: &mut dyn FnMut(&[u8])) -> Result<(), SampleError> {
        let size = self.element.size;
        let (mut skip, mut left) = (self.header, self.count());
        let mut sum = Crc::new();
        // An entry may lie across two pieces.
        let mut torn: Vec<u8> = Vec::new();
        let whole = self.body.pieces(&mut |piece| {
            sum.update(piece);
            let skipped = skip.min(piece.len());
            skip -= skipped;
            let mut piece = &piece[skipped..];
            if !torn.is_empty() && left > 0 {
                let (first, rest) = piece.split_at((size - torn.len()).min(piece.len()));
                torn.extend(first);
                piece = rest;
                if torn.len() < size {
                    return true;
                }
                each(&torn);
                torn.clear();
                left -= 1;
            }
            let entries = piece.chunks_exact(size);
            let rest = entries.remainder();
            let taken = left.min(piece.len() / size);
            entries.take(taken).for_each(&mut *each);
            left -= taken;
            torn.extend(rest);
            left > 0
        });
        if whole.is_none() || left > 0 {
            let why = "ends before its last number";
            return Err(SampleError::Damaged { name: self.name.clone(), why });
        }
        // Nothing follows the last number where numpy wrote it.
        if self.sum.is_some_and(|said| said != sum.sum()) {
            let why = "is not what its archive says";
            return Err(SampleError::Damaged { name: self.name.clone(), why });
        }
        Ok(())
    }

    fn check_length(&self) -> Result<(), SampleError> {
        let bytes = self.count().checked_mul(self.element.size);
        let bytes = bytes.and_then(|bytes| bytes.checked_add(self.header));
        if bytes.is_none_or(|bytes| bytes > self.body.most()) {
            let why = "ends before its last number";
            return Err(SampleError::Damaged { name: self.name.clone(), why });
        }
        Ok(())
    }
}

impl Element {
    fn number(self, bytes: &[u8]) -> f64 {
        let mut wide = [0u8; 8];
        for (place, &byte) in bytes.iter().enumerate().take(8) {
            wide[if self.big_endian { bytes.len() - 1 - place } else { place }] = byte;
        }
        let bits = u64::from_le_bytes(wide);
        match (self.kind, self.size) {
            (Kind::Float, 2) => half(bits as u16),
            (Kind::Float, 4) => f64::from(f32::from_bits(bits as u32)),
            (Kind::Float, _) => f64::from_bits(bits),
            (Kind::Signed, size) => {
                let unused = 64 - 8 * size as u32;
                ((bits << unused) as i64 >> unused) as f64
            }
            _ => bits as f64,
        }
    }
}

/// A number of 16 bits (IEEE 754-2019, binary16).
fn half(bits: u16) -> f64 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f64::from(bits & 0x3ff));
    sign * match exponent {
        0 => fraction * 2f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1.0 + fraction / 1024.0) * 2f64.powi(exponent - 15),
    }
}

fn text(bytes: &[u8], big_endian: bool) -> String {
    let letters = bytes.chunks_exact(4).map(|four| {
        let four = [four[0], four[1], four[2], four[3]];
        let code = if big_endian { u32::from_be_bytes(four) } else { u32::from_le_bytes(four) };
        char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
    });
    letters.take_while(|letter| *letter != '\0').collect()
}

/// Numpy's name of an element: `<f4`.
fn element(name: &str, descr: &str) -> Result<Element, SampleError> {
    let unknown =
        || SampleError::Kind { name: name.to_string(), kind: format!("numpy's {descr:?}") };
    let (order, rest) = descr.split_at_checked(1).ok_or_else(unknown)?;
    let (kind, size) = rest.split_at_checked(1).ok_or_else(unknown)?;
    let size: usize = size.parse().map_err(|_| unknown())?;
    let kind = match (kind, size) {
        ("b", 1) => Kind::Bool,
        ("u", 1 | 2 | 4 | 8) => Kind::Unsigned,
        ("i", 1 | 2 | 4 | 8) => Kind::Signed,
        ("f", 2 | 4 | 8) => Kind::Float,
        ("U", 1..=LETTERS_MAX) => Kind::Text,
        _ => return Err(unknown()),
    };
    let big_endian = match order {
        "<" | "|" | "=" => false,
        ">" => true,
        _ => return Err(unknown()),
    };
    let size = if kind == Kind::Text { size * 4 } else { size };
    Ok(Element { kind, size, big_endian })
}

/// `(3, 4)`.
pub fn shape_in_words(shape: &[usize]) -> String {
    let sides: Vec<String> = shape.iter().map(usize::to_string).collect();
    format!("({})", sides.join(", "))
}

/// Places of a row-major array, met with the first index moving fastest.
struct Places {
    shape: Vec<usize>,
    strides: Vec<usize>,
    at: Vec<usize>,
    place: usize,
}

impl Places {
    fn of(shape: &[usize]) -> Self {
        let mut strides = vec![1; shape.len()];
        for axis in (1..shape.len()).rev() {
            strides[axis - 1] = strides[axis] * shape[axis];
        }
        Self { shape: shape.to_vec(), strides, at: vec![0; shape.len()], place: 0 }
    }

    /// The place of the next entry.
    fn next(&mut self) -> usize {
        let place = self.place;
        for axis in 0..self.shape.len() {
            self.at[axis] += 1;
            self.place += self.strides[axis];
            if self.at[axis] < self.shape[axis] {
                break;
            }
            self.place -= self.strides[axis] * self.shape[axis];
            self.at[axis] = 0;
        }
        place
    }
}

const HEADER_MAX: usize = 1 << 16;
/// Letters of one text.
const LETTERS_MAX: usize = 4096;
