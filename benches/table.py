"""The table of docs/performance.md in one run: every case in turns with `cp` and `openssl dgst -sha256`, medians of at least five.

    cargo build --release
    DEPICKLE_BENCH_MAKE=1 DEPICKLE_BENCH_MB=2048 cargo bench --bench runs     # makes the checkpoints, without torch
    python3 benches/table.py target/tmp/bench/in --out OUTPUT_FOLDER

OUTPUT_FOLDER is where the outputs go: on a disk the conversions are durable, in memory (/dev/shm) they show the time before the final
sync. Linux; needs Python and openssl.
"""
import argparse
import pathlib
import shutil
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import timing  # noqa: E402

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("files", type=pathlib.Path, help="the folder with the checkpoints")
parser.add_argument("--out", type=pathlib.Path, required=True)
parser.add_argument("--depickle", default="target/release/depickle")
parser.add_argument("--rounds", type=int, default=5)
parser.add_argument("--only", help="a part of the name of a case, or growth")
args = parser.parse_args()

OUT = args.out.resolve() / "depickle-bench"
FILES = {name: args.files / f"{name}.pt" for name in ("large", "large_legacy", "transposed", "small", "tiny")}
HUNDREDS = sorted(path for path in args.files.glob("[0-9][0-9][0-9].pt"))


def clean():
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)


def convert(inputs, *flags):
    return [args.depickle, "convert", "--quiet", *flags, *map(str, inputs), "-o", f"{OUT}/"]


def cp(inputs):
    return ["cp", *map(str, inputs), str(OUT)]


def digest(path):
    return ["openssl", "dgst", "-sha256", str(path)]


# name, files, command, what its time is divided by (with the target)
CASES = [
    ("2 GB zip", [FILES["large"]], convert, {"openssl": "1.35, durable 1.6", "cp": "4"}),
    ("2 GB zip, --no-tensor-hashes", [FILES["large"]], lambda f: convert(f, "--no-tensor-hashes"), {"openssl": "1.05"}),
    ("2 GB legacy", [FILES["large_legacy"]], convert, {"zip": "1.1", "openssl": "", "cp": ""}),
    ("2 GB of transposed bf16", [FILES["transposed"]], convert, {"zip": "1.6", "cp": ""}),
    ("20,000 small tensors", [FILES["small"]], convert, {"cp": "10"}),
    ("500 checkpoints of 1 MB", HUNDREDS, convert, {"cp": "2.3"}),
    ("one tiny file", [FILES["tiny"]], convert, {}),
    ("inspect of the 2 GB zip", [FILES["large"]], lambda f: [args.depickle, "inspect", "--json", *map(str, f)], {}),
]


def row(name, seconds, others, targets, peak):
    ratios = ", ".join(f"{timing.ratio(seconds, others[to]):.2f} x {to}" for to in targets)
    wanted = ", ".join(f"{target} x {to}" for to, target in targets.items() if target)
    shown = f"{timing.median(seconds):.2f} s" if timing.median(seconds) > 0.1 else f"{1000 * timing.median(seconds):.1f} ms"
    print(f"| {name} | {wanted} | {shown}{'; ' + ratios if ratios else ''} | {peak:.0f} MB |", flush=True)


def beside(name, files, command, targets):
    """Measures one case with what it is compared to, in turns."""
    known = {"cp": cp(files), "openssl": digest(files[0]), "zip": convert([FILES["large"]])}
    commands = [(to, known[to], None) for to in targets] + [("own", command, None)]
    seconds = timing.in_turns(commands, args.rounds, clean)
    if isinstance(seconds["own"], str):
        print(f"| {name} | | fails: {seconds['own']} | |", flush=True)
        return
    _, peak = timing.run(command, anonymous=True)
    clean()
    row(name, seconds["own"], seconds, targets, peak)


def verify():
    """`verify` beside a digest of the same output, which is moved so that its source is not read too."""
    clean()
    timing.run(convert([FILES["large"]]))
    moved = OUT / "moved"
    moved.mkdir()
    for name in ("large.safetensors", "large.safetensors.manifest.json"):
        (OUT / name).rename(moved / name)
    output = moved / "large.safetensors"
    command = [args.depickle, "verify", str(output)]
    commands = [("openssl", digest(output), None), ("own", command, None)]
    seconds = timing.in_turns(commands, args.rounds)
    _, peak = timing.run(command, anonymous=True)
    row("verify of the 2 GB output", seconds["own"], seconds, {"openssl": "1.15"}, peak)
    clean()


def growth():
    """Time by bytes, and by tensors."""
    print("\n| checkpoint | MB | s | ns a byte | us a tensor | peak anonymous memory |\n| --- | --- | --- | --- | --- | --- |")
    for path in sorted(args.files.glob("bytes_*.pt")) + sorted(args.files.glob("tensors_*.pt")):
        seconds = timing.in_turns([("own", convert([path]), None)], args.rounds, clean)["own"]
        if isinstance(seconds, str):
            print(f"| {path.stem} | fails: {seconds} |")
            continue
        _, peak = timing.run(convert([path]), anonymous=True)
        clean()
        taken, size = timing.median(seconds), path.stat().st_size
        n = int(path.stem.split("_")[1]) if path.stem.startswith("tensors") else 0
        each = f"{taken / n * 1e6:.1f}" if n else ""
        print(f"| {path.stem} | {size / 1e6:.1f} | {taken:.3f} | {taken / size * 1e9:.2f} | {each} | {peak:.0f} MB |", flush=True)


clean()
print(f"medians of {args.rounds}, ratios of neighbouring runs\n")
print("| case | target | measured | peak anonymous memory |\n| --- | --- | --- | --- |")
for case in CASES:
    if not args.only or args.only in case[0]:
        name, files, command, targets = case
        beside(name, files, command(files), targets)
if not args.only or args.only in "verify":
    verify()
if not args.only or args.only in "growth":
    growth()
shutil.rmtree(OUT, ignore_errors=True)
