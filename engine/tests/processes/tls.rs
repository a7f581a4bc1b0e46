//! Peers that share no code with this crate: Python's ssl module and `openssl`.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use ampe::{Address, Reason};
use tempfile::TempDir;

use crate::certificates::{Authority, Holder};
use crate::common::peer::{
    BYE_REQUEST, BYE_RESPONSE, Frame, HELLO_REQUEST, HELLO_RESPONSE, REQUEST, RESPONSE, frame,
};
use crate::common::{engine, listen, nobody, skip};
use crate::sides::{any, build, own, side, trusting};

/// A program on its own, which ends with the test.
struct Program {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Program {
    fn start(command: &mut Command) -> Program {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::null()).spawn().unwrap();
        let (input, output) = (child.stdin.take(), child.stdout.take().unwrap());
        let output = BufReader::new(output);
        Program {
            child,
            input,
            output,
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        let input = self.input.as_mut().unwrap();
        input.write_all(bytes).unwrap();
        input.flush().unwrap();
    }

    fn receive(&mut self) -> Frame {
        let mut bytes = vec![0; 16];
        self.output.read_exact(&mut bytes).unwrap();
        let content = [12, 14].map(|at| usize::from(bytes[at]) << 8 | usize::from(bytes[at + 1]));
        bytes.resize(16 + content[0] + content[1], 0);
        self.output.read_exact(&mut bytes[16..]).unwrap();
        Frame::read(&bytes).0
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A tool, if it is here and says this of its version.
fn tool(name: &str, arguments: &[&str], wanted: &str) -> Option<Command> {
    let output = Command::new(name).args(arguments).output();
    let is_here = output.is_ok_and(|it| String::from_utf8_lossy(&it.stdout).contains(wanted));
    if !is_here {
        skip(&format!("a peer by `{name}`: there is none with TLS 1.3"));
    }
    is_here.then(|| Command::new(name))
}

fn openssl() -> Option<Command> {
    let lists_tls13 = ["ciphers", "-s", "-tls1_3"];
    tool("openssl", &lists_tls13, "TLS_AES_128_GCM_SHA256")
}

fn python() -> Option<Command> {
    let names = ["python3", "python"];
    let asks = ["-c", "import ssl; print(ssl.HAS_TLSv1_3)"];
    names.iter().find_map(|name| tool(name, &asks, "True"))
}

fn save(directory: &TempDir, name: &str, text: &str) -> String {
    let path = directory.path().join(name);
    std::fs::write(&path, text).unwrap();
    shown(&path)
}

fn shown(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// The files of an authority and of who has a certificate of it.
fn files(directory: &TempDir, authority: &Authority, holder: &Holder) -> [String; 3] {
    [
        save(directory, "authority.pem", &authority.pem),
        save(directory, "own.pem", &holder.chain),
        save(directory, "own.key", &holder.key),
    ]
}

/// A client of another make: its bytes are those of its input and output.
#[track_caller]
fn assert_served(start: impl FnOnce(&TempDir, &Address, &[String; 3]) -> Program) {
    let (authority, engine) = (Authority::new(), engine());
    let (holder, directory) = (authority.issue("127.0.0.1"), tempfile::tempdir().unwrap());
    let demanding = own(&holder).authorities_pem(authority.pem.as_bytes());
    let mut server = side(&engine, &build(demanding.unwrap().require_certificate()));
    let (_, address) = listen(&server.0, &mut server.1, &any());
    let files = files(&directory, &authority, &holder);
    let mut peer = start(&directory, &address, &files);
    peer.write(&frame(HELLO_REQUEST, 1).bytes());
    let hello = expect!(server.1, Hello);
    let identity = hello.peer().identity().expect("it was required");
    assert_eq!(identity.key_hash(), holder.key_hash);
    server.0.post(hello.echo()).unwrap();
    assert_eq!(peer.receive().proto & 0x0f, HELLO_RESPONSE);
    for len in [0, 1, 20_000, 65_535] {
        peer.write(&frame(REQUEST, 5).with_body(vec![b'x'; len]).bytes());
        let request = expect!(server.1, Request);
        assert_eq!(request.body().len(), len);
        server.0.post(request.echo()).unwrap();
        let response = peer.receive();
        assert_eq!(
            (response.proto & 0x0f, response.body.len()),
            (RESPONSE, len)
        );
    }
    peer.write(&frame(BYE_REQUEST, 9).bytes());
    drop(expect!(server.1, Bye));
    assert_eq!(peer.receive().proto & 0x0f, BYE_RESPONSE);
    assert_eq!(expect!(server.1, Closed).reason(), Reason::Bye);
    let mut rest = Vec::new();
    peer.output.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"", "nothing follows but the end");
}

/// Copies its input to the connection, and the other way, until that ends in order.
const PYTHON_CLIENT: &str = r#"
import socket, ssl, sys, threading
port, authority, chain, key = sys.argv[1:]
context = ssl.create_default_context(cafile=authority)
context.minimum_version = ssl.TLSVersion.TLSv1_3
context.load_cert_chain(chain, key)
tls = context.wrap_socket(socket.create_connection(("127.0.0.1", int(port))),
                          server_hostname="127.0.0.1", suppress_ragged_eofs=False)
def copy_input():
    while data := sys.stdin.buffer.raw.read(65536):
        tls.sendall(data)
threading.Thread(target=copy_input, daemon=True).start()
while data := tls.recv(65536):
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
"#;

#[test]
fn a_client_by_python_is_served() {
    let Some(mut python) = python() else { return };
    assert_served(|_, address, files| {
        let port = address.port().unwrap().to_string();
        let arguments = ["-c", PYTHON_CLIENT, &port];
        Program::start(python.args(arguments).args(files))
    });
}

#[test]
fn a_client_by_openssl_is_served() {
    let Some(mut openssl) = openssl() else { return };
    assert_served(|_, address, [authority, chain, key]| {
        let to = format!("127.0.0.1:{}", address.port().unwrap());
        let arguments = ["s_client", "-quiet", "-connect", &to, "-tls1_3"];
        let trust = ["-CAfile", authority, "-verify_return_error"];
        let own = ["-verify_ip", "127.0.0.1", "-cert", chain, "-key", key];
        Program::start(openssl.args(arguments).args(trust).args(own))
    });
}

/// Dials a server of another make, which copies its input and output, and listens at that port.
#[track_caller]
fn assert_dials(port: u16, mut peer: Program, authority: &Authority) {
    let engine = engine();
    let mut client = side(&engine, &build(trusting(authority)));
    let address = Address::tls("127.0.0.1", port).unwrap();
    let to_server = client.0.connect(&address).unwrap();
    assert_eq!(peer.receive().proto & 0x0f, HELLO_REQUEST);
    peer.write(&frame(HELLO_RESPONSE, 1).bytes());
    assert_eq!(expect!(client.1, Accepted).channel(), to_server);
    for len in [1, 16_385, 65_535] {
        let request = engine.message().with_body(&vec![7; len]).unwrap();
        client.0.post(request.request(to_server)).unwrap();
        let request = peer.receive();
        assert_eq!(request.body.len(), len);
        peer.write(&frame(RESPONSE, request.id).with_body(&request.body).bytes());
        assert_eq!(expect!(client.1, Response).body().len(), len);
    }
    client.0.post(engine.message().bye(to_server)).unwrap();
    let bye = peer.receive();
    peer.write(&frame(BYE_RESPONSE, bye.id).bytes());
    expect!(client.1, ByeResponse);
    drop(peer.input.take());
    assert_eq!(expect!(client.1, Closed).reason(), Reason::Bye);
}

const PYTHON_SERVER: &str = r#"
import socket, ssl, sys, threading
chain, key = sys.argv[1:]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.minimum_version = ssl.TLSVersion.TLSv1_3
context.load_cert_chain(chain, key)
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
tls = context.wrap_socket(listener.accept()[0], server_side=True)
def copy_input():
    while data := sys.stdin.buffer.raw.read(65536):
        tls.sendall(data)
    tls.unwrap()
threading.Thread(target=copy_input, daemon=True).start()
while data := tls.recv(65536):
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
"#;

#[test]
fn a_server_by_python_is_dialled() {
    let Some(mut python) = python() else { return };
    let authority = Authority::new();
    let directory = tempfile::tempdir().unwrap();
    let [_, chain, key] = files(&directory, &authority, &authority.issue("127.0.0.1"));
    let mut peer = Program::start(python.args(["-c", PYTHON_SERVER, &chain, &key]));
    let port = peer.line().parse().unwrap();
    assert_dials(port, peer, &authority);
}

/// Starts a server by `openssl` with these arguments, and waits until it listens.
fn openssl_server(
    mut openssl: Command,
    directory: &TempDir,
    authority: &Authority,
    arguments: &[&str],
) -> (u16, Program) {
    let [_, chain, key] = files(directory, authority, &authority.issue("127.0.0.1"));
    let (keeper, port) = nobody();
    keeper.set_reuse_address(true).unwrap(); // as the server does, which listens beside it
    let at = format!("127.0.0.1:{port}");
    let own = ["-cert", &chain, "-key", &key, "-naccept", "1"];
    let command = openssl.args(["s_server", "-quiet", "-accept", &at]);
    let peer = Program::start(command.args(own).args(arguments));
    // It says nothing, and accepts once: whether it listens, only the next test of it tells.
    let path = "/proc/net/tcp";
    let mark = format!("0100007F:{port:04X} 00000000:0000 0A");
    crate::common::wait_until("the server to listen", || {
        std::fs::read_to_string(path).map_or(true, |table| table.contains(&mark))
    });
    (port, peer)
}

#[test]
fn a_server_by_openssl_is_dialled() {
    let Some(openssl) = openssl() else { return };
    if !cfg!(target_os = "linux") {
        return skip("a server by `openssl`: only Linux tells when it listens");
    }
    let (authority, directory) = (Authority::new(), tempfile::tempdir().unwrap());
    let (port, peer) = openssl_server(openssl, &directory, &authority, &["-tls1_3"]);
    assert_dials(port, peer, &authority);
}

#[test]
fn a_peer_without_tls_13_is_refused_in_both_directions() {
    let (Some(server), Some(mut client)) = (openssl(), openssl()) else {
        return;
    };
    if !cfg!(target_os = "linux") {
        return skip("a server by `openssl`: only Linux tells when it listens");
    }
    let (authority, directory) = (Authority::new(), tempfile::tempdir().unwrap());
    let engine = engine();
    let (port, _peer) = openssl_server(server, &directory, &authority, &["-tls1_2"]);
    let mut dialling = side(&engine, &build(trusting(&authority)));
    let address = Address::tls("127.0.0.1", port).unwrap();
    dialling.0.connect(&address).unwrap();
    expect!(dialling.1, Returned);
    let closed = expect!(dialling.1, Closed);
    assert_eq!(closed.reason(), Reason::HandshakeFailed);
    let said = closed.os_error().unwrap().to_string();
    assert!(said.contains("TLS 1.3"), "{said}");

    let mut listening = side(&engine, &build(own(&authority.issue("127.0.0.1"))));
    let (_, address) = listen(&listening.0, &mut listening.1, &any());
    let to = format!("127.0.0.1:{}", address.port().unwrap());
    let refused = client
        .args(["s_client", "-connect", &to, "-tls1_2"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr).to_lowercase();
    assert!(said.contains("alert protocol version"), "{said}");
}
