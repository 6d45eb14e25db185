"""Fitted scikit-learn models, pickled and dumped by joblib.

    python make_sklearn.py OUTDIR

Needs scikit-learn and joblib. Writes OUTDIR/frameworks/sklearn/VERSION. The names are those of the pickle: what each object
reduces to (lowered.ReduceWalk).
"""

import pickle
import platform
import sys
import warnings

import joblib
import numpy as np
import sklearn
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.ensemble import GradientBoostingRegressor, RandomForestClassifier
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, WhiteKernel
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

import expect
import lowered

NEW = int(sklearn.__version__.split(".")[0]) >= 1
BY = "scikit-learn %s, joblib %s, numpy %s, Python %s" % (
    sklearn.__version__, joblib.__version__, np.__version__, ".".join(platform.python_version_tuple()[:2]))


def models():
    rng = np.random.RandomState(0)
    x = rng.standard_normal((20, 3))
    y = (x[:, 0] + x[:, 1] > 0).astype(int)
    yield "logistic", make_pipeline(StandardScaler(), LogisticRegression()).fit(x, y)
    yield "tree", DecisionTreeClassifier(max_depth=2, random_state=0).fit(x, y)
    if not NEW:
        return
    yield "forest", RandomForestClassifier(n_estimators=2, max_depth=1, random_state=0).fit(x, np.array(["no", "yes"])[y])
    yield "boosting", GradientBoostingRegressor(n_estimators=2, max_depth=1, random_state=0).fit(x, x[:, 0])  # a 2-d array of trees
    yield "kmeans", KMeans(n_clusters=2, n_init=1, random_state=0).fit(x.astype(np.float32))
    yield "gaussian_process", GaussianProcessRegressor(RBF() + WhiteKernel(), random_state=0).fit(x[:5], x[:5, 0])
    yield "neighbours", KNeighborsClassifier(n_neighbors=2, algorithm="kd_tree").fit(x, y)
    yield "pca", PCA(2).fit(x)


def check(path, loaded):
    lowered.write_expect(path, loaded, walk=lowered.ReduceWalk, by=BY)


def main(out):
    where = expect.folder(out, "frameworks", "sklearn", sklearn.__version__) + "/"
    for name, model in models():
        path = where + name + ".pkl"
        if name != "forest":
            with open(path, "wb") as f:
                pickle.dump(model, f, 5 if NEW else 4)
            with open(path, "rb") as f:
                check(path, pickle.load(f))
        if name in ("logistic", "forest"):
            joblib.dump(model, where + name + ".joblib")
            check(where + name + ".joblib", joblib.load(where + name + ".joblib"))
        if name == "tree":
            joblib.dump({"model": model, "columns": ["a", "b"], "score": 0.5}, where + "tree_compressed.joblib", compress=3)
            check(where + "tree_compressed.joblib", joblib.load(where + "tree_compressed.joblib"))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(sys.argv[1])
