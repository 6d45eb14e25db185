#!/bin/sh
# Makes everything again, one library version after the other, each in a venv of its own that is removed after.
#
#     sh run_all.sh OUTDIR [ONLY]      ONLY: a part of a line below, e.g. "torch==1.1"
#
# Needs pyenv with the Pythons named here, and for 2.7 a Python 3.11 (its virtualenv makes the venv).
# Downloads some 20 GB over all: the CUDA libraries that recent torch wheels want, though nothing here uses a GPU.
set -eu
out=$1
only=${2:-}
here=$(cd "$(dirname "$0")" && pwd)
venv=$(mktemp -d)/venv
export PYTHONDONTWRITEBYTECODE=1

python() { echo "$(pyenv root)/versions/$1/bin/python"; }

# in_version "PYTHON PACKAGE..." "SCRIPT OUTDIR [ARGS]"...
in_version() {
    case "$1" in *"$only"*) ;; *) return 0 ;; esac
    version=${1%% *}
    packages=${1#* }
    shift
    echo "== Python $version, $packages"
    rm -rf "$venv"
    if [ "${version%%.*}" = 2 ]; then
        "$(python 3.11.7)" -m venv "$venv.tool" && "$venv.tool/bin/pip" install -q "virtualenv<20.22"
        "$venv.tool/bin/virtualenv" -q -p "$(python "$version")" "$venv"
    else
        "$(python "$version")" -m venv "$venv"
    fi
    "$venv/bin/pip" install -q --prefer-binary $packages
    for script in "$@"; do
        (cd "$here" && "$venv/bin/python" -W ignore $script)
    done
    rm -rf "$venv" "$venv.tool"
}

mkdir -p "$out"
out=$(cd "$out" && pwd)

in_version "3.11.7 torch==2.15.0 numpy==2.4.6 safetensors==0.8.0 omegaconf ml_dtypes" \
    "make_torch.py $out" "make_torch_newest.py $out" "make_save_file.py $out" "make_broken.py $out" \
    "make_by_hand.py $out" "make_cyclic.py $out" "make_bare.py $out" "make_bare_torch.py $out"
in_version "3.9.18 torch==1.12.1 transformers==4.20.1 numpy<2" "make_index_sets.py $out"
in_version "3.9.18 torch==1.12.1 transformers==4.30.2 numpy<2" "make_index_sets.py $out"
in_version "3.11.7 torch==2.15.0 numpy==2.4.6 safetensors==0.8.0 huggingface_hub==2.4.0" "make_index_sets.py $out"
in_version "3.12.1 torch==2.13.0 numpy" "make_torch.py $out"
in_version "3.13.0 torch==2.8.0 numpy" "make_torch.py $out"
in_version "3.12.1 torch==2.5.1 numpy" "make_torch.py $out"
in_version "3.11.7 torch==2.3.1 numpy<2" "make_torch.py $out"
in_version "3.10.13 torch==2.1.2 numpy<2" "make_torch.py $out"
in_version "3.9.18 torch==2.0.1 numpy<2" "make_torch.py $out"
in_version "3.10.13 torch==1.13.1 numpy<2" "make_torch.py $out"
in_version "3.9.18 torch==1.12.1 numpy<1.24" "make_torch.py $out"
in_version "3.8.18 torch==1.11.0 numpy<1.24" "make_torch.py $out"
in_version "3.9.18 torch==1.10.2 numpy<1.24" "make_torch.py $out"
in_version "3.8.18 torch==1.9.1 numpy<1.24" "make_torch.py $out"
in_version "3.7.16 torch==1.8.1 numpy" "make_torch.py $out"
in_version "3.8.18 torch==1.7.1 numpy<1.20" "make_torch.py $out"
in_version "3.6.15 torch==1.6.0 numpy" "make_torch.py $out"
in_version "3.7.16 torch==1.5.1 numpy" "make_torch.py $out" "make_bare_torch.py $out"
in_version "2.7.18 torch==1.4.0 numpy future" "make_torch.py $out"
in_version "2.7.18 torch==1.3.1 numpy future" "make_torch.py $out" "make_bare_torch.py $out"
in_version "3.6.15 torch==1.1.0 numpy" "make_torch.py $out"
in_version "2.7.18 torch==1.0.0 numpy future" "make_torch.py $out"
in_version "2.7.18 numpy==1.11.0" "make_bare.py $out"
in_version "3.6.15 numpy==1.12.0" "make_bare.py $out"
in_version "3.8.18 numpy==1.17.3" "make_bare.py $out"
in_version "3.10.13 numpy==1.26.4 ml_dtypes" "make_bare.py $out"
in_version "3.12.1 numpy==2.0.0" "make_bare.py $out 5"

# Containers. The newest of each library first.
in_version "3.11.7 torch==2.15.0 numpy==2.4.6 omegaconf lz4 zstandard" \
    "make_npy.py $out" "make_compressed.py $out" "make_bundles.py $out" "make_torchscript.py $out" "make_package.py $out" "make_pt2.py $out" \
    "make_lowered.py $out" "make_subclass.py $out" "make_subclass.py $out distributed" "make_numpy_kinds.py $out" "make_stylegan.py $out" \
    "make_training.py $out"
in_version "3.11.7 torch==2.8.0 numpy" "make_pt2.py $out"
in_version "3.12.1 torch==2.5.1 numpy" "make_pt2.py $out" "make_lowered.py $out" "make_subclass.py $out distributed"
in_version "3.9.18 torch==1.12.1 numpy<1.24" "make_package.py $out" "make_lowered.py $out" "make_subclass.py $out"
in_version "3.7.16 torch==1.8.1 numpy" "make_torchscript.py $out" "make_package.py $out" "make_lowered.py $out" "make_subclass.py $out"
in_version "3.6.15 torch==1.6.0 numpy" "make_torchscript.py $out"
in_version "3.7.16 torch==1.5.1 numpy" "make_torchscript.py $out" "make_lowered.py $out"
in_version "2.7.18 torch==1.4.0 numpy future typing" "make_torchscript.py $out" "make_lowered.py $out"
in_version "2.7.18 torch==1.3.1 numpy future typing" "make_torchscript.py $out" "make_lowered.py $out"
in_version "3.6.15 torch==1.1.0 numpy" "make_torchscript.py $out"
in_version "2.7.18 torch==1.0.0 numpy future typing" "make_torchscript.py $out"
in_version "2.7.18 numpy==1.11.0" "make_npy.py $out" "make_numpy_kinds.py $out" "make_training.py $out"
in_version "3.6.15 numpy==1.12.0" "make_npy.py $out"
in_version "3.8.18 numpy==1.17.3" "make_npy.py $out" "make_numpy_kinds.py $out" "make_training.py $out"
in_version "3.13.0 numpy==2.3.5" "make_numpy_kinds.py $out" "make_training.py $out"
in_version "3.12.1 numpy==2.0.0" "make_training.py $out"

# joblib. "full" makes every kind of array too.
in_version "2.7.18 numpy==1.11.0 joblib==0.8.4" "make_joblib.py $out full"
in_version "3.6.15 numpy==1.12.0 joblib==0.8.4" "make_joblib.py $out"
in_version "2.7.18 numpy==1.11.0 joblib==0.9.4" "make_joblib.py $out"
in_version "3.6.15 numpy==1.12.0 joblib==0.9.4" "make_joblib.py $out full"
in_version "2.7.18 numpy==1.11.0 joblib==0.10.3" "make_joblib.py $out full"
in_version "3.6.15 numpy==1.12.0 joblib==0.10.3" "make_joblib.py $out"
in_version "3.6.15 numpy==1.12.0 joblib==0.11" "make_joblib.py $out"
in_version "3.6.15 numpy==1.12.0 joblib==0.13.2 lz4" "make_joblib.py $out"
in_version "3.8.18 numpy==1.17.3 joblib==0.14.1 lz4" "make_joblib.py $out full"
in_version "3.8.18 numpy==1.17.3 joblib==0.17.0 lz4" "make_joblib.py $out"
in_version "3.10.13 numpy==1.26.4 joblib==1.1.1 lz4" "make_joblib.py $out"
in_version "3.10.13 numpy==1.26.4 joblib==1.2.0 lz4" "make_joblib.py $out full"
in_version "3.10.13 numpy==1.26.4 joblib==1.3.2 lz4" "make_joblib.py $out"
in_version "3.13.0 numpy==2.3.5 joblib==1.6.0 lz4" "make_joblib.py $out full"

# Other libraries.
in_version "3.11.7 torch==2.15.0 numpy torchao==0.18.0" "make_subclass.py $out torchao"
in_version "3.12.1 torch==2.5.1 numpy torchao==0.7.0" "make_subclass.py $out torchao"
in_version "3.11.7 torch==2.15.0 numpy bitsandbytes==0.50.2" "make_subclass.py $out bitsandbytes"
in_version "3.11.7 numpy==2.4.6 scipy==1.17.1 scikit-learn==1.9.1 joblib==1.6.0" "make_numpy_kinds.py $out" "make_sklearn.py $out" "make_training.py $out"
in_version "3.8.18 numpy==1.17.3 scikit-learn==0.24.2 joblib==1.1.1" "make_sklearn.py $out"
in_version "3.11.7 paddlepaddle==3.3.1" "make_paddle.py $out"
in_version "3.10.13 paddlepaddle==2.6.2 numpy<2" "make_paddle.py $out"
in_version "3.8.18 paddlepaddle==1.8.5 numpy<1.20 protobuf<3.21" "make_paddle.py $out"
in_version "3.11.7 jax==0.10.2 flax==0.12.8 optax==0.2.8" "make_jax.py $out"
in_version "3.10.13 jax==0.4.20 jaxlib==0.4.20 numpy<2 scipy<1.12" "make_jax.py $out"
in_version "3.8.18 numpy==1.17.3 setuptools<60 six typing_extensions filelock protobuf<3.21 chainer==7.8.1" "make_chainer.py $out"
in_version "3.11.7 torch==2.15.0 lightning==2.6.6 omegaconf" "make_training.py $out"
in_version "3.7.16 torch==1.8.1 pytorch-lightning==1.5.10 torchmetrics==0.7.3 omegaconf==2.1.2" "make_training.py $out"
PYTHONHASHSEED=0 "$(python 3.11.7)" "$here/make_differential.py" "$out"

# Libraries write where the sources are.
"$(python 3.11.7)" "$here/neutral.py" "$here" "${venv%/venv}" "$(pyenv root)" "$out"
