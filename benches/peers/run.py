"""Converts the same files with depickle and with other programs; see README.md beside this file."""
import argparse
import os
import pathlib
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import timing  # noqa: E402

MANIFEST = """[package]
name = "peers"
version = "0.0.0"
edition = "2024"

[dependencies]
candle-core = { version = "0.11", default-features = false }
pytorch-reader = "=0.22.0"

[profile.release]
lto = "thin"
"""

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("files", nargs="+", type=pathlib.Path, help="checkpoints")
parser.add_argument("--scratch", type=pathlib.Path, required=True, help="a folder for outputs and for what is built")
parser.add_argument("--depickle", default="target/release/depickle")
parser.add_argument("--torch", default=sys.executable, help="a Python that has torch and safetensors")
parser.add_argument("--pt-safe-loader", default=sys.executable, help="a Python that has pt-safe-loader")
parser.add_argument("--rounds", type=int, default=5)
args = parser.parse_args()

sources = args.scratch / "peers" / "src" / "bin"
sources.mkdir(parents=True, exist_ok=True)
(args.scratch / "peers" / "Cargo.toml").write_text(MANIFEST)
for program in ("candle.rs", "pytorch_reader.rs"):
    shutil.copy(HERE / program, sources)
built = args.scratch.resolve() / "target"
subprocess.run(["cargo", "build", "--release", "--quiet"], cwd=args.scratch / "peers", env={**os.environ, "CARGO_TARGET_DIR": str(built)}, check=True)

outputs = args.scratch.resolve() / "out"


def clean():
    shutil.rmtree(outputs, ignore_errors=True)
    outputs.mkdir(parents=True)


for file in args.files:
    output = str(outputs / "out.safetensors")
    commands = [
        ("cp", ["cp", str(file), output], None),
        ("openssl dgst -sha256", ["openssl", "dgst", "-sha256", str(file)], None),
        ("depickle", [args.depickle, "convert", "--quiet", str(file), "-o", output], None),
        ("torch.load + save_file", [args.torch, str(HERE / "torch_save_file.py"), str(file), output], None),
        ("the same with mmap=True", [args.torch, str(HERE / "torch_save_file.py"), str(file), output], {"TORCH_MMAP": "1"}),
        ("pt-safe-loader", [args.pt_safe_loader, str(HERE / "pt_safe_loader.py"), str(file), output], None),
        ("candle", [str(built / "release" / "candle"), str(file), output], None),
        ("pytorch-reader + a plain writer", [str(built / "release" / "pytorch_reader"), str(file), output], None),
    ]
    seconds = timing.in_turns(commands, args.rounds, clean)
    print(f"\n{file.name}, {file.stat().st_size / 1e6:.0f} MB, medians of {args.rounds}\n")
    print("| program | s | ratio to `cp` | peak anonymous memory |\n| --- | --- | --- | --- |")
    for name, command, env in commands:
        if isinstance(seconds[name], str):
            print(f"| {name} | fails: {seconds[name]} | | |")
            continue
        clean()
        _, peak = timing.run(command, env, anonymous=True)
        print(f"| {name} | {timing.median(seconds[name]):.2f} | {timing.ratio(seconds[name], seconds['cp']):.1f} | {peak:.0f} MB |", flush=True)
clean()
