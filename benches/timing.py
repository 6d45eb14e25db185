"""Runs programs in turns and says how long each took beside the first one. Needs nothing but Python."""
import os
import statistics
import subprocess
import time


def run(command, env=None, anonymous=False):
    """Seconds of a command, and its peak anonymous memory in MB where that is asked for (Linux)."""
    start = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env={**os.environ, **(env or {})})
    peak = 0
    while anonymous and child.poll() is None:
        try:
            with open(f"/proc/{child.pid}/status") as status:
                peak = max([peak] + [int(line.split()[1]) for line in status if line.startswith("RssAnon")])
        except OSError:
            break
        time.sleep(0.002)
    _, errors = child.communicate()
    seconds = time.perf_counter() - start
    if child.returncode:
        raise RuntimeError(errors.decode(errors="replace").strip().splitlines()[-1][:200])
    return seconds, peak / 1000


def in_turns(commands, rounds, clean=lambda: None):
    """The seconds of each of `commands`, (name, command, env), one after another, again and again; the first round only warms up.
    A command that fails has the reason instead, and one that takes a minute is run once."""
    seconds = {name: [] for name, _, _ in commands}
    for number in range(rounds + 1):
        for name, command, env in commands:
            if isinstance(seconds[name], str) or seconds[name][:1] > [60]:
                continue
            clean()
            try:
                taken, _ = run(command, env)
            except RuntimeError as error:
                seconds[name] = str(error)
                continue
            if number or taken > 60:
                seconds[name].append(taken)
    clean()
    return seconds


def ratio(of, to):
    """The median of the ratios of runs that were made next to each other."""
    return statistics.median(a / b for a, b in zip(of, to))


def median(seconds):
    return statistics.median(seconds)
