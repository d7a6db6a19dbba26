use std::fmt;
use std::marker::PhantomData;

/// A handle on the rows of one kind; costs nothing to copy. Made by [`Store::table`](crate::Store::table).
pub struct Table<K, V> {
    id: u32,
    row: PhantomData<fn() -> (K, V)>,
}

impl<K, V> Table<K, V> {
    pub(crate) fn new(id: u32) -> Table<K, V> {
        Table {
            id,
            row: PhantomData,
        }
    }

    /// The leading bytes of its keys.
    pub(crate) fn id(&self) -> [u8; 4] {
        self.id.to_be_bytes()
    }
}

impl<K, V> Clone for Table<K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for Table<K, V> {}

impl<K, V> fmt::Debug for Table<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Table({:08x})", self.id)
    }
}

/// Ids below are the store's own.
const FIRST_ID: u32 = 256;
/// From here on a table would end in the last possible key.
const END_ID: u32 = u32::MAX;

/// The id of a table follows from its name alone (FNV-1a), so that a handle needs no storage.
pub(crate) fn id_of(name: &str) -> u32 {
    let hash = name.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    FIRST_ID + hash % (END_ID - FIRST_ID)
}
