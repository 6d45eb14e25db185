//! Python's own containers and values, and the classes of other packages that checkpoints carry as plain data.

use crate::globals::{Meaning, Row};

use Meaning::{Harmless, Mapping, Sequence};

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
    ("builtins", "complex", Harmless),
    ("builtins", "slice", Harmless),
    ("builtins", "range", Harmless),
    ("builtins", "object", Harmless),
    ("copyreg", "_reconstructor", Harmless),
    ("datetime", "datetime", Harmless),
    ("datetime", "date", Harmless),
    ("datetime", "time", Harmless),
    ("datetime", "timedelta", Harmless),
    ("datetime", "timezone", Harmless),
    ("pathlib", "PosixPath", Harmless),
    ("pathlib", "WindowsPath", Harmless),
    ("pathlib", "PurePosixPath", Harmless),
    ("pathlib", "PureWindowsPath", Harmless),
    ("pathlib._local", "PosixPath", Harmless),
    ("pathlib._local", "WindowsPath", Harmless),
    ("argparse", "Namespace", Harmless),
    ("types", "SimpleNamespace", Harmless),
    ("typing", "Any", Harmless),
    ("joblib.numpy_pickle", "NumpyArrayWrapper", Harmless),
    ("joblib.numpy_pickle", "NDArrayWrapper", Harmless),
    ("joblib.numpy_pickle", "ZNDArrayWrapper", Harmless),
    ("joblib.numpy_pickle_compat", "NDArrayWrapper", Harmless),
    ("joblib.numpy_pickle_compat", "ZNDArrayWrapper", Harmless),
];
