# -*- coding: utf-8 -*-
"""The values of a loaded checkpoint that are no tensors, as plain JSON: NAME.values.json.

    values.write(path, loaded)

dict -> object (keys as in expect.key_text), list, tuple, set -> array (a set sorted by repr), objects with attributes ->
object, a tensor or array -> {"$tensor": its name}, int, float, str, bool, None as they are (floats that JSON has not: their repr),
a numpy scalar as its item(), anything else (enums, paths, dates, bytes, complex) -> its repr, a function or class -> its dotted name.
Runs on Python 2.7 and 3.6+.
"""
from __future__ import print_function, unicode_literals

import io
import json
import math
from numbers import Integral

import numpy as np

try:
    import enum
except ImportError:  # Python 2
    enum = None

from expect import join, key_text, torch


def plain(obj, path="", open_=()):
    if any(obj is other for other in open_):
        return {"$ref": "."}
    if obj is None or isinstance(obj, bool):
        return obj
    if enum is not None and isinstance(obj, enum.Enum):
        return repr(obj)
    if isinstance(obj, np.generic):
        item = obj.item()
        return plain(item, path) if isinstance(item, (bool, int, float, type(""))) else repr(item)
    if isinstance(obj, float):
        return obj if not (math.isnan(obj) or math.isinf(obj)) else repr(obj)
    if isinstance(obj, (Integral, type(""))):
        return obj
    if isinstance(obj, np.ndarray) or torch is not None and isinstance(obj, torch.Tensor):
        return {"$tensor": path or "tensor"}
    open_ += (obj,)
    if isinstance(obj, dict):
        return dict((key_text(key), plain(value, join(path, key_text(key)), open_)) for key, value in obj.items())
    if isinstance(obj, (set, frozenset)):
        return [plain(item, path, open_) for item in sorted(obj, key=repr)]
    if torch is not None and isinstance(obj, torch.Size):
        return list(obj)
    if isinstance(obj, (list, tuple)):
        return [plain(item, join(path, "%d" % i), open_) for i, item in enumerate(obj)]
    if torch is not None and isinstance(obj, torch.nn.Module):
        return {"$module": type(obj).__name__}
    if type(obj).__name__ in ("DictConfig", "ListConfig"):
        from omegaconf import OmegaConf
        return plain(OmegaConf.to_container(obj, resolve=False), path, open_)
    if type(obj).__module__ == "uuid":
        return repr(obj)
    if type(obj).__name__ == "partial":
        return {"func": plain(obj.func), "args": plain(obj.args), "keywords": plain(obj.keywords)}
    if callable(obj) and hasattr(obj, "__name__"):
        return "%s.%s" % (obj.__module__, getattr(obj, "__qualname__", obj.__name__))
    if hasattr(obj, "__dict__") and not isinstance(obj, type) and not callable(obj) and vars(obj):
        return dict((key, plain(value, join(path, key), open_)) for key, value in vars(obj).items())
    slots = getattr(type(obj), "__slots__", ())
    if type(obj).__module__ == "__main__" and slots:
        return dict((key, plain(getattr(obj, key), join(path, key), open_)) for key in slots)
    return repr(obj)


def write(path, obj):
    def flat(value):
        return json.dumps(value, sort_keys=True, ensure_ascii=True)

    found = plain(obj)
    text = "{%s\n}" % ",".join("\n  %s: %s" % (flat(key), flat(found[key])) for key in sorted(found))
    with io.open(path + ".values.json", "w", encoding="utf-8", newline="\n") as f:
        f.write("%s\n" % text)
