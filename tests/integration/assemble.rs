//! Small assemblers for pickles, zip archives and torch files, so that a hostile file is the few bytes that make it hostile.
//! The benchmarks make their checkpoints with them, too.

use std::io::Write;

/// Puts pieces one after another.
pub fn cat(pieces: &[&[u8]]) -> Vec<u8> {
    pieces.concat()
}

// ---- pickle ---------------------------------------------------------------------------------------------------

pub fn global(module: &str, name: &str) -> Vec<u8> {
    format!("c{module}\n{name}\n").into_bytes()
}

pub fn text(text: &str) -> Vec<u8> {
    cat(&[b"X", &(text.len() as u32).to_le_bytes(), text.as_bytes()])
}

pub fn int(value: i32) -> Vec<u8> {
    cat(&[b"J", &value.to_le_bytes()])
}

pub fn bytes(value: &[u8]) -> Vec<u8> {
    cat(&[b"B", &(value.len() as u32).to_le_bytes(), value])
}

pub fn tuple(items: &[&[u8]]) -> Vec<u8> {
    cat(&[b"(", &items.concat(), b"t"])
}

/// `callable(*args)`
pub fn call(callable: &[u8], args: &[&[u8]]) -> Vec<u8> {
    cat(&[callable, &tuple(args), b"R"])
}

/// A dict of these keys and values.
pub fn dict(pairs: &[(&str, &[u8])]) -> Vec<u8> {
    let pairs: Vec<u8> = pairs.iter().flat_map(|(key, value)| cat(&[&text(key), value])).collect();
    cat(&[b"}(", &pairs, b"u"])
}

/// A whole pickle of protocol 2.
pub fn pickle(value: &[u8]) -> Vec<u8> {
    cat(&[b"\x80\x02", value, b"."])
}

/// What runs a program when it is loaded.
pub fn payload() -> Vec<u8> {
    call(&global("posix", "system"), &[&text("echo this would have run")])
}

// ---- torch ----------------------------------------------------------------------------------------------------

/// A tensor of torch: storage class, key, elements of the storage, offset, shape and strides.
pub fn tensor_of(class: &str, key: &str, n: i32, offset: i32, shape: &[i32], strides: &[i32]) -> Vec<u8> {
    let ints = |values: &[i32]| {
        let values: Vec<Vec<u8>> = values.iter().map(|&value| int(value)).collect();
        tuple(&values.iter().map(Vec::as_slice).collect::<Vec<_>>())
    };
    let pid = tuple(&[&text("storage"), &global("torch", class), &text(key), &text("cpu"), &int(n)]);
    let hooks = call(&global("collections", "OrderedDict"), &[]);
    let args = tuple(&[&cat(&[&pid, b"Q"]), &int(offset), &ints(shape), &ints(strides), b"\x89", &hooks]);
    cat(&[&global("torch._utils", "_rebuild_tensor_v2"), &args, b"R"])
}

/// A tensor of `n` bytes: all of the storage `key`.
pub fn tensor(key: &str, n: i32) -> Vec<u8> {
    tensor_of("ByteStorage", key, n, 0, &[n], &[1])
}

/// A torch zip of `{"w": ...}` over four bytes, with `more` in the pickle before that.
pub fn torch_zip(before: &[u8]) -> Zip {
    let value = cat(&[before, &dict(&[("w", &tensor("0", 4))])]);
    Zip::of(&[("a/data.pkl", &pickle(&value)), ("a/data/0", b"\x01\x02\x03\x04"), ("a/version", b"3\n")])
}

/// The parts of a torch legacy file: five pickles and the tail.
pub struct Legacy {
    pub magic: Vec<u8>,
    pub version: Vec<u8>,
    pub system: Vec<u8>,
    pub object: Vec<u8>,
    pub keys: Vec<u8>,
    pub tail: Vec<u8>,
}

impl Legacy {
    pub fn new() -> Self {
        let pid = tuple(&[&text("storage"), &global("torch", "ByteStorage"), &text("7"), &text("cpu"), &int(4), b"N"]);
        let hooks = call(&global("collections", "OrderedDict"), &[]);
        let args = tuple(&[&cat(&[&pid, b"Q"]), &int(0), &tuple(&[&int(4)]), &tuple(&[&int(1)]), b"\x89", &hooks]);
        let tensor = cat(&[&global("torch._utils", "_rebuild_tensor_v2"), &args, b"R"]);
        Legacy {
            magic: b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.".to_vec(),
            version: pickle(b"M\xe9\x03"),
            system: pickle(&dict(&[("little_endian", b"\x88")])),
            object: pickle(&dict(&[("w", &tensor)])),
            keys: pickle(&cat(&[b"]", &text("7"), b"a"])),
            tail: cat(&[&4u64.to_le_bytes(), b"\x01\x02\x03\x04"]),
        }
    }

    pub fn file(&self) -> Vec<u8> {
        cat(&[&self.magic, &self.version, &self.system, &self.object, &self.keys, &self.tail])
    }
}

// ---- numpy ----------------------------------------------------------------------------------------------------

/// A `.npy` file of version 1 with this header and these bytes behind it.
pub fn npy(header: &str, data: &[u8]) -> Vec<u8> {
    cat(&[b"\x93NUMPY\x01\x00", &(header.len() as u16 + 1).to_le_bytes(), header.as_bytes(), b"\n", data])
}

/// A numpy array of bytes, as a pickle makes it.
pub fn array(data: &[u8]) -> Vec<u8> {
    let n = int(data.len() as i32);
    let dtype = cat(&[&call(&global("numpy", "dtype"), &[&text("u1"), b"\x89", b"\x88"])]);
    let empty = call(&global("numpy.core.multiarray", "_reconstruct"), &[&global("numpy", "ndarray"), &tuple(&[&int(0)]), &bytes(b"b")]);
    cat(&[&empty, &tuple(&[&int(1), &tuple(&[&n]), &dtype, b"\x89", &bytes(data)]), b"b"])
}

// ---- zip ------------------------------------------------------------------------------------------------------

/// An entry of a zip archive. What is `None` is as it should be.
#[derive(Clone, Default)]
pub struct Entry {
    pub name: Vec<u8>,
    pub data: Vec<u8>,
    pub method: u16,
    pub flags: u16,
    pub crc: Option<u32>,
    pub size: Option<u32>,
    pub local_name: Option<Vec<u8>>,
    pub local_size: Option<u32>,
    pub extra: Vec<u8>,
    pub comment: Vec<u8>,
    /// Bytes between this entry and the next one.
    pub gap: Vec<u8>,
    /// Whether the directory does not list it.
    pub unlisted: bool,
    /// Where its local header is, for one that is only in the directory.
    pub start: Option<u32>,
}

/// A zip archive.
#[derive(Clone, Default)]
pub struct Zip {
    pub entries: Vec<Entry>,
    pub comment: Vec<u8>,
    /// Added to the number of entries that the end record says.
    pub more_entries: u16,
}

impl Zip {
    /// Stored entries, with room so that each starts at a multiple of 64 bytes.
    pub fn of(entries: &[(&str, &[u8])]) -> Zip {
        let mut at = 0usize;
        let aligned = |&(name, data): &(&str, &[u8])| {
            let unpadded = at + 30 + name.len() + 4;
            let padding = (64 - unpadded % 64) % 64;
            let extra = cat(&[b"FB", &(padding as u16).to_le_bytes(), &vec![b'Z'; padding]]);
            at = unpadded + padding + data.len();
            Entry { name: name.as_bytes().to_vec(), data: data.to_vec(), extra, ..Entry::default() }
        };
        Zip { entries: entries.iter().map(aligned).collect(), ..Zip::default() }
    }

    /// The same, with a change.
    pub fn with(mut self, change: impl FnOnce(&mut Zip)) -> Zip {
        change(&mut self);
        self
    }

    pub fn file(&self) -> Vec<u8> {
        let mut file = Vec::new();
        self.write(&mut file).expect("memory");
        file
    }

    /// Writes the archive an entry at a time.
    pub fn write(&self, out: &mut dyn Write) -> std::io::Result<()> {
        let mut at = 0u32;
        let mut directory = Vec::new();
        for entry in &self.entries {
            let start = entry.start.unwrap_or(at);
            let crc = entry.crc.unwrap_or_else(|| crc32fast::hash(&entry.data)).to_le_bytes();
            let len = entry.data.len() as u32;
            let size = entry.size.unwrap_or(len);
            let name = entry.local_name.as_ref().unwrap_or(&entry.name);
            let mut head = Vec::new();
            head.extend(cat(&[b"PK\x03\x04\x0a\x00", &entry.flags.to_le_bytes(), &entry.method.to_le_bytes(), &[0; 4], &crc]));
            head.extend(cat(&[&len.to_le_bytes(), &entry.local_size.unwrap_or(size).to_le_bytes()]));
            head.extend(cat(&[&(name.len() as u16).to_le_bytes(), &(entry.extra.len() as u16).to_le_bytes(), name, &entry.extra]));
            if entry.start.is_none() {
                for part in [&head, &entry.data, &entry.gap] {
                    out.write_all(part)?;
                    at += part.len() as u32;
                }
            }
            if entry.unlisted {
                continue;
            }
            directory.extend(cat(&[b"PK\x01\x02\x0a\x00\x0a\x00", &entry.flags.to_le_bytes(), &entry.method.to_le_bytes(), &[0; 4], &crc]));
            directory.extend(cat(&[&len.to_le_bytes(), &size.to_le_bytes(), &(entry.name.len() as u16).to_le_bytes(), &[0; 2]]));
            directory.extend(cat(&[
                &(entry.comment.len() as u16).to_le_bytes(),
                &[0; 8],
                &start.to_le_bytes(),
                &entry.name,
                &entry.comment,
            ]));
        }
        let entries = (self.entries.iter().filter(|entry| !entry.unlisted).count() as u16 + self.more_entries).to_le_bytes();
        let size = (directory.len() as u32).to_le_bytes();
        let end = cat(&[b"PK\x05\x06\0\0\0\0", &entries, &entries, &size, &at.to_le_bytes(), &(self.comment.len() as u16).to_le_bytes()]);
        out.write_all(&cat(&[&directory, &end, &self.comment]))
    }
}

// ---- tar ------------------------------------------------------------------------------------------------------

/// A tar archive of these members.
pub fn tar(members: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut file = Vec::new();
    for (name, data) in members {
        let mut header = [0u8; 512];
        header[..name.len()].copy_from_slice(name);
        header[100..108].copy_from_slice(b"0000644\0");
        header[124..136].copy_from_slice(format!("{:011o}\0", data.len()).as_bytes());
        header[148..156].copy_from_slice(b"        ");
        header[156] = b'0';
        header[257..265].copy_from_slice(b"ustar\x0000");
        let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        file.extend(header);
        file.extend(*data);
        file.extend(vec![0; (512 - data.len() % 512) % 512]);
    }
    file.extend([0; 1024]);
    file
}
