#!/usr/bin/env python3
"""What `ampe send` and `ampe recv` cost on one machine, beside programs that do parts of the same work.

usage: transfer.py [--rounds=5] [--size=MiB] [--files=10000] [--directory=/dev/shm] AMPE...

One large file: beside a hash of it (openssl) and a copy through a pipe (cat). Small files of 1 to 2 kB: beside tar over
a pipe. All take turns, so that what else the machine does disturbs all alike. Prints the best and the middle time and the
least processors' time, in seconds, of all processes together.
"""
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time

options = dict(word[2:].split("=") for word in sys.argv[1:] if word.startswith("--"))
commands = [word for word in sys.argv[1:] if not word.startswith("--")]
rounds, size = int(options.get("rounds", 5)), int(options.get("size", 1024))
files, directory = int(options.get("files", 10000)), options.get("directory", "/dev/shm")


def shell(line):
    subprocess.run(line, shell=True, check=True, stdout=subprocess.DEVNULL)


def transfer(ampe, source, out):
    listen = ["recv", "--listen", "tcp://127.0.0.1:0", "--out", out, "--once", "--quiet"]
    receiver = subprocess.Popen([ampe, *listen], stdout=subprocess.PIPE, text=True)
    to = receiver.stdout.readline().split()[3]
    reader = threading.Thread(target=receiver.stdout.read)
    reader.start()
    subprocess.run([ampe, "send", "--quiet", "--to", to, source], check=True, stdout=subprocess.DEVNULL)
    if receiver.wait():
        sys.exit("the receiver failed")
    reader.join()


def measured(work):
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    work()
    took, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return took, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


with tempfile.TemporaryDirectory(dir=directory) as place:
    large, small, out = f"{place}/large", f"{place}/small", f"{place}/out"
    block = os.urandom(1 << 20)
    with open(large, "wb") as file:
        for _ in range(size):
            file.write(block)
    for number in range(files):
        below = f"{small}/{number % 100}"
        os.makedirs(below, exist_ok=True)
        with open(f"{below}/{number}", "wb") as file:
            file.write(block[number : number + 1000 + number % 1000])
    works = {}
    if size:
        works["hash"] = lambda: shell(f"openssl dgst -sha256 {large}")
        works["cat | cat"] = lambda: shell(f"cat {large} | cat > {out}/copy")
        for ampe in commands:
            works[f"large, {ampe}"] = lambda ampe=ampe: transfer(ampe, large, out)
    if files:
        works["tar | tar"] = lambda: shell(f"tar -C {place} -cf - small | tar -C {out} -xf -")
        for ampe in commands:
            works[f"small, {ampe}"] = lambda ampe=ampe: transfer(ampe, small, out)
    results = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            os.mkdir(out)
            results[name].append(measured(work))
            shutil.rmtree(out)
    for name, found in results.items():
        times, loads = zip(*found)
        print(f"{name}: best {min(times):.3f}, middle {statistics.median(times):.3f}, processors {min(loads):.3f}")
