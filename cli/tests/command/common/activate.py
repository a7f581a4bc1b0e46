"""Starts a program as systemd starts a service that has sockets: see sd_listen_fds(3).

usage: activate.py [count=N] [pid=N] KIND:WHERE=NAME... -- PROGRAM ARGUMENT...

KIND:WHERE is tcp:HOST, with a port that the system chooses, unix:PATH, or stdin:, which is handed on as it
is. With `count` and `pid` the environment says something else than is so.
"""
import fcntl
import os
import socket
import sys

FIRST = 3  # the number of the first socket, for every program
FAR = 100  # more than are open

end = sys.argv.index("--")
lies = {}
descriptors, names = [], []
for word in sys.argv[1:end]:
    what, _, name = word.partition("=")
    if what in ("count", "pid"):
        lies[what] = name
        continue
    kind, _, where = what.partition(":")
    if kind == "stdin":
        descriptor = 0
    else:
        family = {"tcp": socket.AF_INET, "unix": socket.AF_UNIX}[kind]
        listener = socket.socket(family)
        listener.bind((where, 0) if kind == "tcp" else where)
        listener.listen()
        descriptor = listener.detach()
    descriptors.append(fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, FAR))
    names.append(name)
for number, descriptor in enumerate(descriptors, FIRST):
    os.dup2(descriptor, number, inheritable=True)
os.environ["LISTEN_FDS"] = lies.get("count", str(len(names)))
os.environ["LISTEN_PID"] = lies.get("pid", str(os.getpid()))
os.environ["LISTEN_FDNAMES"] = ":".join(names)
os.execv(sys.argv[end + 1], sys.argv[end + 1 :])
