//! Encodes values as bytes. Integers take as few bytes as they need; signed ones are folded so that small values stay short. Reading never
//! panics, and allocates no more than a small multiple of its input.

use std::collections::BTreeMap;

/// Version of the blob's format that is written; all older ones can be read. `codec.rs` says when to raise it.
pub const FORMAT: u64 = 2;

/// Why bytes cannot be read: they are not in the form that this program writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Damaged {
    /// The bytes end too early.
    #[error("it ends in the middle of a record")]
    Short,
    /// A number does not fit its type.
    #[error("a number is out of range")]
    Range,
    /// A code is unknown to this version.
    #[error("{what} {code} is not known: it was written by a newer surplusd, or is damaged")]
    Code {
        /// Kind of code.
        what: &'static str,
        /// The code.
        code: u8,
    },
    /// The blob cannot be inflated within the size limit, or its checksum is wrong.
    #[error("it does not unpack")]
    Packing,
    /// The blob has a newer format.
    #[error("it was written by a newer surplusd (format {0}, this one reads up to {max}): use the surplusd that wrote it, or a newer one", max = FORMAT)]
    Newer(u64),
}

/// Bytes being read, and the format in which they were written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bytes<'a> {
    /// The bytes still to be read.
    pub(super) rest: &'a [u8],
    /// Version of the format.
    pub(super) format: u64,
}

impl Bytes<'_> {
    /// Takes one byte from the front.
    pub(super) fn byte(&mut self) -> Result<u8, Damaged> {
        let (first, rest) = self.rest.split_first().ok_or(Damaged::Short)?;
        self.rest = rest;
        Ok(*first)
    }
}

/// A value that can be written and read back.
pub(super) trait Field: Sized {
    /// Appends the value in the newest format.
    fn put(&self, out: &mut Vec<u8>);
    /// Takes a value from the front, in the format of the input.
    fn take(input: &mut Bytes<'_>) -> Result<Self, Damaged>;
}

impl Field for u64 {
    fn put(&self, out: &mut Vec<u8>) {
        let mut left = *self;
        while left >= 0x80 {
            out.push((left & 0x7f) as u8 | 0x80);
            left >>= 7;
        }
        out.push((left & 0x7f) as u8);
    }

    fn take(input: &mut Bytes<'_>) -> Result<Self, Damaged> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let next = input.byte()?;
            let bits = u64::from(next & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(Damaged::Range);
            }
            value |= bits << shift;
            if next & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Damaged::Range)
    }
}

impl Field for i64 {
    fn put(&self, out: &mut Vec<u8>) {
        ((self << 1) ^ (self >> 63)).cast_unsigned().put(out);
    }

    fn take(input: &mut Bytes<'_>) -> Result<Self, Damaged> {
        let folded = u64::take(input)?;
        Ok((folded >> 1).cast_signed() ^ -((folded & 1).cast_signed()))
    }
}

/// Integers that are written as a larger type.
macro_rules! narrow {
    ($($type:ty as $wide:ty),*) => { $(
        impl Field for $type {
            fn put(&self, out: &mut Vec<u8>) {
                <$wide>::from(*self).put(out);
            }

            fn take(input: &mut Bytes<'_>) -> Result<Self, Damaged> {
                Self::try_from(<$wide>::take(input)?).map_err(|_| Damaged::Range)
            }
        }
    )* };
}
narrow!(u8 as u64, u16 as u64, u32 as u64, i32 as i64);

impl Field for bool {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn take(input: &mut Bytes<'_>) -> Result<Self, Damaged> {
        match input.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            code => Err(Damaged::Code { what: "truth", code }),
        }
    }
}

impl<T: Field> Field for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.is_some().put(out);
        if let Some(value) = self {
            value.put(out);
        }
    }

    fn take(input: &mut Bytes<'_>) -> Result<Self, Damaged> {
        bool::take(input)?.then(|| T::take(input)).transpose()
    }
}

impl<T: Field> Field for [T; 3] {
    fn put(&self, out: &mut Vec<u8>) {
        for value in self {
            value.put(out);
        }
    }

    fn take(input: &mut Bytes<'_>) -> Result<Self, Damaged> {
        Ok([T::take(input)?, T::take(input)?, T::take(input)?])
    }
}

impl Field for String {
    fn put(&self, out: &mut Vec<u8>) {
        (self.len() as u64).put(out);
        out.extend_from_slice(self.as_bytes());
    }

    fn take(input: &mut Bytes<'_>) -> Result<Self, Damaged> {
        let length = usize::try_from(u64::take(input)?).map_err(|_| Damaged::Range)?;
        let (text, rest) = input.rest.split_at_checked(length).ok_or(Damaged::Short)?;
        input.rest = rest;
        Self::from_utf8(text.to_vec()).map_err(|_| Damaged::Range)
    }
}

impl<T: Field> Field for Vec<T> {
    fn put(&self, out: &mut Vec<u8>) {
        (self.len() as u64).put(out);
        for value in self {
            value.put(out);
        }
    }

    fn take(input: &mut Bytes<'_>) -> Result<Self, Damaged> {
        // Each entry takes bytes, so a wrong count ends at the end of the input.
        (0..u64::take(input)?).map(|_| T::take(input)).collect()
    }
}

impl<K: Field + Ord, V: Field> Field for BTreeMap<K, V> {
    fn put(&self, out: &mut Vec<u8>) {
        (self.len() as u64).put(out);
        for (key, value) in self {
            key.put(out);
            value.put(out);
        }
    }

    fn take(input: &mut Bytes<'_>) -> Result<Self, Damaged> {
        let mut map = Self::new();
        // Each entry takes bytes, so a wrong count ends at the end of the input.
        for _ in 0..u64::take(input)? {
            map.insert(K::take(input)?, V::take(input)?);
        }
        Ok(map)
    }
}

/// Structs, field by field. Each is destructured by name, so a field added to the type does not compile until it is also added here,
/// after `; since FORMAT:`, with its value for anything written before that format.
macro_rules! fields {
    ($($name:ident { $($field:tt),* $(; since $since:literal: $($new:ident = $before:expr),* $(,)?)* })*) => { $(
        impl Field for $name {
            fn put(&self, out: &mut Vec<u8>) {
                $( self.$field.put(out); )*
                $( $( self.$new.put(out); )* )*
                // Fails to compile if a field is not written.
                let Self { $($field: _,)* $($($new: _,)*)* } = self;
            }

            fn take(input: &mut Bytes<'_>) -> Result<Self, Damaged> {
                Ok(Self {
                    $($field: Field::take(input)?,)*
                    $($($new: if input.format < $since { $before } else { Field::take(input)? },)*)*
                })
            }
        }
    )* };
}

/// Enums: a code for each variant, then its fields. Codes never change; a new variant takes the next one. Fields are added as in structs.
macro_rules! codes {
    ($($name:ident { $(
        $code:literal = $variant:ident
            $({ $($field:ident),* $(; since $since:literal: $($new:ident = $before:expr),* $(,)?)* })?
            $(( $inner:ident ))?
    ),* $(,)? })*) => { $(
        impl Field for $name {
            fn put(&self, out: &mut Vec<u8>) {
                match self {
                    $( Self::$variant $({ $($field,)* $($($new,)*)* })? $(( $inner ))? => {
                        out.push($code);
                        $( $( $field.put(out); )* $( $( $new.put(out); )* )* )?
                        $( $inner.put(out); )?
                    } )*
                }
            }

            fn take(input: &mut Bytes<'_>) -> Result<Self, Damaged> {
                match input.byte()? {
                    $( $code => Ok(Self::$variant $({
                        $($field: Field::take(input)?,)*
                        $($($new: if input.format < $since { $before } else { Field::take(input)? },)*)*
                    })? $(({
                        let $inner = Field::take(input)?;
                        $inner
                    }))?), )*
                    code => Err(Damaged::Code { what: stringify!($name), code }),
                }
            }
        }
    )* };
}

pub(super) use {codes, fields};
