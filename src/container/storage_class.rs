//! torch's storage classes: the element type that a persistent id names.

use crate::tensor::Dtype;

/// A storage class of torch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StorageClass {
    /// Elements of a dtype.
    Plain(Dtype),
    /// Elements of a quantized dtype, by its name, and the integers that stand for them.
    Quantized(&'static str, Dtype),
    /// Elements of a quantized dtype, by its name, and how many of them share a byte.
    Packed(&'static str, i64),
}

impl StorageClass {
    /// The dtype of a plain tensor over such a storage.
    pub(crate) fn dtype(self) -> Option<Dtype> {
        match self {
            StorageClass::Plain(dtype) => Some(dtype),
            StorageClass::Quantized(..) | StorageClass::Packed(..) => None,
        }
    }

    /// Bytes of what persistent ids and size headers count.
    pub(crate) fn item_bytes(self) -> u8 {
        match self {
            StorageClass::Plain(dtype) | StorageClass::Quantized(_, dtype) => dtype.item_bytes(),
            StorageClass::Packed(..) => 1,
        }
    }
}

/// Storage classes by the part of their name before `Storage`.
const STORAGE_CLASSES: &[(&str, StorageClass)] = &[
    ("Double", StorageClass::Plain(Dtype::F64)),
    ("Float", StorageClass::Plain(Dtype::F32)),
    ("Half", StorageClass::Plain(Dtype::F16)),
    ("BFloat16", StorageClass::Plain(Dtype::BF16)),
    ("Long", StorageClass::Plain(Dtype::I64)),
    ("Int", StorageClass::Plain(Dtype::I32)),
    ("Short", StorageClass::Plain(Dtype::I16)),
    ("Char", StorageClass::Plain(Dtype::I8)),
    ("Byte", StorageClass::Plain(Dtype::U8)),
    ("Bool", StorageClass::Plain(Dtype::BOOL)),
    ("ComplexDouble", StorageClass::Plain(Dtype::C128)),
    ("ComplexFloat", StorageClass::Plain(Dtype::C64)),
    ("Untyped", StorageClass::Plain(Dtype::U8)),
    ("_Untyped", StorageClass::Plain(Dtype::U8)),
    ("QUInt8", StorageClass::Quantized("quint8", Dtype::U8)),
    ("QInt8", StorageClass::Quantized("qint8", Dtype::I8)),
    ("QInt32", StorageClass::Quantized("qint32", Dtype::I32)),
    ("QUInt4x2", StorageClass::Packed("quint4x2", 2)),
    ("QUInt2x4", StorageClass::Packed("quint2x4", 4)),
];

/// The storage class that a global names. Only `torch`, `torch.cuda` and `torch.storage` own storage classes.
pub(crate) fn storage_class(module: &str, name: &str) -> Option<StorageClass> {
    if !matches!(module, "torch" | "torch.cuda" | "torch.storage") {
        return None;
    }
    let kind = name.strip_suffix("Storage")?;
    STORAGE_CLASSES.iter().find(|(known, _)| *known == kind).map(|(_, class)| *class)
}
