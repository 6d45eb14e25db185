//! The byte buffers that the persistent ids of a pickle mean, by key.

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use ::bytes::Bytes;
use hashbrown::HashTable;

use crate::container::Member;
use crate::place::Place;
use crate::source::Region;
use crate::storage::{Content, Storage};

/// Storages by key. An index is a storage's number in its space.
#[derive(Debug)]
pub struct Space(Kind);

#[derive(Debug)]
enum Kind {
    Listed { storages: Vec<Storage>, by_key: HashMap<String, u32> },
    Members(Members),
    Runs(Runs),
}

/// Members of an archive that are storages: their keys are what follows a prefix in their names.
#[derive(Debug)]
struct Members {
    /// The index of the archive's first member among the document's.
    first: usize,
    big_endian: bool,
    /// The index of each member, and the bytes of its name before the key.
    rows: Vec<(u32, u32)>,
    by_key: Keys,
}

/// Storages one after another in one file.
#[derive(Debug)]
struct Runs {
    region: Region,
    /// Where the file is.
    start: Place,
    rows: Vec<Run>,
    by_key: Keys,
}

/// Bytes of a file, with their key.
#[derive(Debug)]
struct Run {
    key: Bytes,
    at: u64,
    len: u64,
}

/// The numbers of rows by their keys, which stand elsewhere.
#[derive(Debug, Default)]
struct Keys {
    numbers: HashTable<u32>,
    hasher: RandomState,
}

impl Keys {
    fn get(&self, key: &[u8], is: impl Fn(u32) -> bool) -> Option<u32> {
        self.numbers.find(self.hasher.hash_one(key), |&number| is(number)).copied()
    }

    fn insert(&mut self, key: &[u8], number: u32, hash_of: impl Fn(&RandomState, u32) -> u64) {
        let hasher = &self.hasher;
        self.numbers.insert_unique(hasher.hash_one(key), number, |&number| hash_of(hasher, number));
    }
}

impl Default for Space {
    fn default() -> Self {
        Space::listed(HashMap::new())
    }
}

impl Space {
    /// Storages by key, as they are.
    pub(super) fn listed(storages: HashMap<String, Storage>) -> Self {
        let mut by_key = HashMap::with_capacity(storages.len());
        let mut rows = Vec::with_capacity(storages.len());
        for (key, storage) in storages {
            by_key.insert(key, rows.len() as u32); // an archive has fewer members
            rows.push(storage);
        }
        Space(Kind::Listed { storages: rows, by_key })
    }

    /// The number of a key's storage. `members` are those of the document.
    pub fn find(&self, key: &str, members: &[Member]) -> Option<u32> {
        match &self.0 {
            Kind::Listed { by_key, .. } => by_key.get(key).copied(),
            Kind::Members(space) => space.by_key.get(key.as_bytes(), |number| space.key(number, members).is_some_and(|other| other == key)),
            Kind::Runs(space) => space.by_key.get(key.as_bytes(), |number| space.rows[number as usize].key == key.as_bytes()),
        }
    }

    /// The storage with this number.
    pub fn storage(&self, number: u32, members: &[Member]) -> Storage {
        match &self.0 {
            Kind::Listed { storages, .. } => storages[number as usize].clone(),
            Kind::Members(space) => {
                let member = space.member(number, members);
                member.storage(&space.key(number, members).unwrap_or_default(), space.big_endian)
            }
            Kind::Runs(space) => {
                let Run { key, at, len } = &space.rows[number as usize];
                let content = space.region.slice(*at, *len).unwrap_or_else(|| unreachable!("it was there when the run was made"));
                let key = String::from_utf8_lossy(key).into_owned();
                Storage { key, len: *len, head: 0, content: Content::Plain(content), place: space.start.advanced(*at), big_endian: false }
            }
        }
    }

    /// The key of the storage with this number.
    pub fn key_of(&self, number: u32, members: &[Member]) -> String {
        match &self.0 {
            Kind::Listed { storages, .. } => storages[number as usize].key.clone(),
            Kind::Members(space) => space.key(number, members).unwrap_or_default().into_owned(),
            Kind::Runs(space) => String::from_utf8_lossy(&space.rows[number as usize].key).into_owned(),
        }
    }

    /// Whether multi-byte values of a storage are stored most significant byte first.
    pub fn is_big_endian(&self, number: u32) -> bool {
        match &self.0 {
            Kind::Listed { storages, .. } => storages[number as usize].big_endian,
            Kind::Members(space) => space.big_endian,
            Kind::Runs(_) => false,
        }
    }

    /// The number of storages.
    pub fn len(&self) -> usize {
        match &self.0 {
            Kind::Listed { storages, .. } => storages.len(),
            Kind::Members(space) => space.rows.len(),
            Kind::Runs(space) => space.rows.len(),
        }
    }

    /// Bytes of a storage once decoded.
    pub fn len_of(&self, number: u32, members: &[Member]) -> u64 {
        match &self.0 {
            Kind::Listed { storages, .. } => storages[number as usize].len,
            Kind::Members(space) => space.member(number, members).len,
            Kind::Runs(space) => space.rows[number as usize].len,
        }
    }

    /// The member of the document that a storage is, where the space is one of members.
    pub fn member_index(&self, number: u32) -> Option<usize> {
        match &self.0 {
            Kind::Members(space) => Some(space.first + space.rows[number as usize].0 as usize),
            _ => None,
        }
    }

    /// Says that `n` other members were put before those of the document.
    pub(super) fn moved(mut self, n: usize) -> Self {
        if let Kind::Members(space) = &mut self.0 {
            space.first += n;
        }
        self
    }

    /// The same without need of the document's members.
    pub(super) fn without(self, members: &[Member]) -> Self {
        match &self.0 {
            Kind::Members(_) => {
                let all = (0..self.len() as u32).map(|number| self.storage(number, members));
                Space::listed(all.map(|storage| (storage.key.clone(), storage)).collect())
            }
            _ => self,
        }
    }
}

impl Members {
    fn member<'a>(&self, number: u32, members: &'a [Member]) -> &'a Member {
        &members[self.first + self.rows[number as usize].0 as usize]
    }

    fn key<'a>(&self, number: u32, members: &'a [Member]) -> Option<Cow<'a, str>> {
        tail(self.member(number, members).name(), self.rows[number as usize].1)
    }
}

fn tail(name: Cow<'_, str>, from: u32) -> Option<Cow<'_, str>> {
    match name {
        Cow::Borrowed(name) => name.get(from as usize..).map(Cow::Borrowed),
        Cow::Owned(name) => name.get(from as usize..).map(|key| Cow::Owned(key.to_owned())),
    }
}

/// Builds the space of an archive's members, one after another.
pub(super) struct MemberSpace(Members);

impl MemberSpace {
    pub fn new(big_endian: bool) -> Self {
        MemberSpace(Members { first: 0, big_endian, rows: Vec::new(), by_key: Keys::default() })
    }

    /// Adds the member number `index`, whose key is its name from byte `from` on; false when there is one with that key.
    pub fn add(&mut self, index: usize, from: usize, members: &[Member]) -> bool {
        let space = &mut self.0;
        let number = space.rows.len() as u32; // an archive has fewer members
        space.rows.push((index as u32, from as u32));
        let key = space.key(number, members).unwrap_or_default();
        if space.by_key.get(key.as_bytes(), |other| space.key(other, members).is_some_and(|other| other == key)).is_some() {
            return false;
        }
        let Members { rows, by_key, .. } = space;
        by_key.insert(key.as_bytes(), number, |hasher, number| {
            let (index, from) = rows[number as usize];
            hasher.hash_one(tail(members[index as usize].name(), from).unwrap_or_default().as_bytes())
        });
        true
    }

    pub fn finish(self) -> Space {
        Space(Kind::Members(self.0))
    }
}

/// Builds the space of storages that follow one another in `region`, one after another.
pub(super) struct RunSpace(Runs);

impl RunSpace {
    pub fn new(region: &Region, start: &Place) -> Self {
        RunSpace(Runs { region: region.clone(), start: start.clone(), rows: Vec::new(), by_key: Keys::default() })
    }

    /// Adds the `len` bytes at `at`; false when they have the key of others.
    pub fn add(&mut self, key: Bytes, at: u64, len: u64) -> bool {
        let Runs { rows, by_key, .. } = &mut self.0;
        if by_key.get(&key, |number| rows[number as usize].key == key).is_some() {
            return false;
        }
        by_key.insert(&key, rows.len() as u32, |hasher, number| hasher.hash_one(&*rows[number as usize].key));
        rows.push(Run { key, at, len });
        true
    }

    pub fn has(&self, key: &[u8]) -> bool {
        self.0.by_key.get(key, |number| self.0.rows[number as usize].key == key).is_some()
    }

    pub fn finish(self) -> Space {
        Space(Kind::Runs(self.0))
    }
}
