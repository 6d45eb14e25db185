"""Pickles of jax arrays and of what flax and optax keep them in, haiku-like parameters.

    python make_jax.py OUTDIR

Needs jax; from 0.5 on flax and optax too. Writes OUTDIR/frameworks/jax/VERSION.
"""

import pickle
import platform
import sys

import jax
import jax.numpy as jnp
import numpy as np

import expect
import lowered
from lowered import distinct

NEW = tuple(int(n) for n in jax.__version__.split(".")[:2]) >= (0, 5)
BY = "jax %s, numpy %s, Python %s" % (jax.__version__, np.__version__, ".".join(platform.python_version_tuple()[:2]))


class Walk(lowered.ReduceWalk):
    """jax arrays as numpy has them; a FrozenDict is a dict; a key array by what its pickle holds."""

    def visit(self, obj, path, wanted):
        if isinstance(obj, jax.Array):
            if jax.dtypes.issubdtype(obj.dtype, jax.dtypes.prng_key):
                return self.reduced(obj, path, wanted)
            return super().visit(np.asarray(obj), path, wanted)
        if type(obj).__name__ == "FrozenDict":
            return super().visit(dict(obj), path, wanted)
        if isinstance(obj, tuple) and type(obj) is not tuple:  # a named tuple is pickled as cls.__new__(cls, *items)
            return self.reduced(obj, path, wanted)
        return super().visit(obj, path, wanted)


def array(kind, shape, seed):
    return jnp.asarray(distinct(kind, shape, seed))


def arrays():
    found = {kind: array(kind, (2, 3), seed) for seed, kind in enumerate(
        ("float32", "float16", "int32", "int8", "uint8", "uint32", "bool", "complex64"))}
    found["bfloat16"] = array("float32", (2, 3), 20).astype(jnp.bfloat16)
    found["float8_e4m3fn"] = array("float32", (4,), 21).astype(jnp.float8_e4m3fn)
    if NEW:
        found["int4"] = jnp.asarray(np.zeros(3, np.int8)).astype(jnp.int4)  # left out
    found["weak"] = jnp.asarray(2.5)
    found["scalar"] = array("float32", (), 22)
    found["empty"] = jnp.zeros((0, 2))
    found["transposed"] = array("float32", (2, 3), 23).T
    found["list"] = [array("float32", (1,), 24), (array("int32", (2,), 25), "text")]
    found["old_key"] = jax.random.PRNGKey(7)
    found["numpy"] = distinct("float32", (2,), 26)
    return found


def dump(obj, path, protocol=4):
    with open(path, "wb") as f:
        pickle.dump(obj, f, protocol)
    with open(path, "rb") as f:
        lowered.write_expect(path, pickle.load(f), obj, walk=Walk, by=BY)


def main(out):
    where = expect.folder(out, "frameworks", "jax", jax.__version__) + "/"
    for protocol in (2, 5) if NEW else (4,):
        dump(arrays(), where + "arrays_p%d.pkl" % protocol, protocol)
    if not NEW:
        return
    dump({"key": jax.random.key(3), "keys": jax.random.split(jax.random.key(4), 2), "w": array("float32", (2,), 30)}, where + "keys.pkl")
    dump(array("float32", (2, 3), 31), where + "array_root.pkl")
    params = {"linear": {"w": array("float32", (3, 2), 32), "b": array("float32", (2,), 33)},
              "mlp/~/linear_1": {"w": array("float32", (2, 2), 34).astype(jnp.bfloat16)}}
    dump({"params": params, "step": 3, "rng": jax.random.PRNGKey(1)}, where + "haiku_params.pkl")
    import flax.core
    import optax
    frozen = flax.core.freeze({"params": {"Dense_0": {"kernel": array("float32", (3, 2), 35), "bias": array("float32", (2,), 36)}},
                               "batch_stats": {"mean": array("float32", (2,), 37)}})
    dump(frozen, where + "flax_frozen.pkl")
    optimizer = optax.adam(0.1)
    state = optimizer.init(params)
    _, state = optimizer.update(jax.tree.map(lambda p: p * 0.5, params), state, params)
    dump({"params": params, "opt_state": state}, where + "optax_adam.pkl")


if __name__ == "__main__":
    main(sys.argv[1])
