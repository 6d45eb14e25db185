//! Python's own containers, and those of other packages that work as they do. What holds no tensor is in `inert.tsv`.

use crate::globals::{Meaning, Row};

use Meaning::{Attribute, Mapping, Sequence, Type};

pub(super) const ROWS: &[Row] = &[
    ("collections", "OrderedDict", Mapping),
    ("collections", "defaultdict", Mapping),
    ("collections", "Counter", Mapping),
    ("builtins", "dict", Mapping),
    ("builtins", "set", Sequence),
    ("builtins", "frozenset", Sequence),
    ("builtins", "list", Sequence),
    ("builtins", "tuple", Sequence),
    ("collections", "deque", Sequence),
    ("builtins", "getattr", Attribute),
    // With more than one argument they make a class, too.
    ("builtins", "type", Type),
    ("abc", "ABCMeta", Type),
    ("enum", "EnumMeta", Type),
    ("enum", "EnumType", Type),
    ("enum", "Enum", Type),
    ("enum", "IntEnum", Type),
    ("enum", "StrEnum", Type),
    ("enum", "Flag", Type),
    ("enum", "IntFlag", Type),
    ("flax.core.frozen_dict", "FrozenDict", Mapping),
    ("haiku._src.data_structures", "FlatMap", Mapping),
    ("haiku._src.data_structures", "FlatMapping", Mapping),
    ("haiku._src.data_structures", "to_haiku_dict", Mapping),
    ("dnnlib.util", "EasyDict", Mapping),
];
