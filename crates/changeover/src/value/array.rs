//! Arrays and bit strings.

use super::Value;

/// An array of any number of dimensions; the elements in row-major order.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Array {
    /// For each dimension, its length and the index of its first element (1, where nothing else was said). Empty: the array
    /// has no elements.
    pub dimensions: Vec<(u32, i32)>,
    /// The elements.
    pub elements: Vec<Value>,
}

impl Array {
    /// An array of one dimension, counted from 1.
    #[must_use]
    pub fn of(elements: Vec<Value>) -> Self {
        let length = u32::try_from(elements.len()).unwrap_or(u32::MAX);
        let dimensions = if elements.is_empty() { Vec::new() } else { vec![(length, 1)] };
        Self { dimensions, elements }
    }

    /// The elements, where it has at most one dimension and is counted from 1: then they are all there is to know.
    #[must_use]
    pub fn as_list(&self) -> Option<&[Value]> {
        match self.dimensions.as_slice() {
            [] | [(_, 1)] => Some(&self.elements),
            _ => None,
        }
    }
}

/// A string of bits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Bits {
    length: u32,
    bytes: Box<[u8]>,
}

impl Bits {
    /// The first bits of these bytes, the highest of each byte first; `None` if there aren't so many. What is left of the
    /// last byte counts as zero.
    #[must_use]
    pub fn new(length: u32, bytes: &[u8]) -> Option<Self> {
        let needed = usize::try_from(length.div_ceil(8)).ok()?;
        let mut bytes: Box<[u8]> = bytes.get(..needed)?.into();
        if let Some(last) = bytes.last_mut() {
            let unused = length.next_multiple_of(8) - length;
            *last &= 0xff_u8 << unused;
        }
        Some(Self { length, bytes })
    }

    /// The lowest bits of a number, the highest of them first.
    #[must_use]
    pub fn of_number(length: u32, number: u64) -> Option<Self> {
        let shift = 64_u32.checked_sub(length)?;
        let bytes = if length == 0 { [0; 8] } else { (number << shift).to_be_bytes() };
        Self::new(length, &bytes)
    }

    /// How many bits.
    #[must_use]
    pub const fn len(&self) -> u32 {
        self.length
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The bits in bytes, the highest of each byte first.
    #[must_use]
    pub const fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The number that they are, the highest first; `None` if it has more than 64 bits.
    #[must_use]
    pub fn to_number(&self) -> Option<u64> {
        let mut number = 0_u64;
        for bit in self.iter() {
            if number >> 63 == 1 {
                return None;
            }
            number = number << 1 | u64::from(bit);
        }
        Some(number)
    }

    /// The bits in order.
    pub fn iter(&self) -> impl Iterator<Item = bool> + '_ {
        self.bytes
            .iter()
            .flat_map(|byte| (0..8).rev().map(move |n| byte >> n & 1 == 1))
            .take(usize::try_from(self.length).unwrap_or(usize::MAX))
    }

    /// Reads `0101`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = vec![0_u8; text.len().div_ceil(8)];
        for (at, c) in text.bytes().enumerate() {
            match c {
                b'0' => {}
                b'1' => bytes[at / 8] |= 0x80 >> (at % 8),
                _ => return None,
            }
        }
        Self::new(u32::try_from(text.len()).ok()?, &bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_come_back_from_text_and_numbers() {
        let bits = Bits::parse("10110").unwrap();
        assert_eq!((bits.len(), bits.bytes(), bits.to_number()), (5, &[0b1011_0000][..], Some(22)));
        assert_eq!(Bits::of_number(5, 22), Some(bits));
        assert_eq!(Bits::of_number(64, u64::MAX).unwrap().to_number(), Some(u64::MAX));
        assert_eq!(Bits::parse("2"), None);
        // What lies behind the last bit isn't part of it.
        assert_eq!(Bits::new(1, &[0xff]), Bits::parse("1"));
    }
}
