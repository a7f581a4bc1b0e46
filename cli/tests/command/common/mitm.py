"""Stands between who connects and a listener, ends TLS on both sides with a certificate of its own, and passes on
what it can read.

usage: mitm.py PORT CHAIN KEY [shows]

Prints the port that it listens on, then for each connection, on one line, how the handshake with who connects went,
how that with the listener, and how many bytes it read of each. With `shows` it shows its certificate to the listener,
too.
"""

import select
import socket
import ssl
import sys

port, chain, key, *shows = sys.argv[1:]

as_server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
as_server.load_cert_chain(chain, key)
as_client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
as_client.check_hostname = False
as_client.verify_mode = ssl.CERT_NONE
if shows:
    as_client.load_cert_chain(chain, key)
for context in (as_server, as_client):
    context.set_alpn_protocols(["ampe/1"])


def secured(wrap):
    try:
        return wrap(), "done"
    except (ssl.SSLError, OSError) as error:
        return None, type(error).__name__


def read(end):
    try:
        return end.recv(65536)
    except (ssl.SSLError, OSError):
        return b""


def passed_on(here, there):
    """How many bytes were read of each, until one of them ends."""
    counts = {here: 0, there: 0}
    while True:
        for end in select.select([here, there], [], [], 20)[0] or [None]:
            data = read(end) if end else b""
            if not data:
                return counts[here], counts[there]
            counts[end] += len(data)
            try:
                (there if end is here else here).sendall(data)
            except (ssl.SSLError, OSError):
                return counts[here], counts[there]


def heard(end):
    """How many bytes one says of itself, until it ends."""
    count = 0
    end.settimeout(20)
    while data := read(end):
        count += len(data)
    return count


listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
while True:
    connection = listener.accept()[0]
    upstream = socket.create_connection(("127.0.0.1", int(port)))
    here, of_here = secured(lambda: as_server.wrap_socket(connection, server_side=True))
    there, of_there = secured(lambda: as_client.wrap_socket(upstream))
    from_here = from_there = 0
    if here and there:
        from_here, from_there = passed_on(here, there)
    elif here:
        from_here = heard(here)
    elif there:
        # As if it were who connects: nothing that it says is answered.
        there.sendall(b"\0" * 16)
        from_there = heard(there)
    print(of_here, of_there, from_here, from_there, flush=True)
    for end in (here or connection, there or upstream):
        end.close()
