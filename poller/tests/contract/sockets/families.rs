//! IPv4 and IPv6 at one port.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};

use ampe_poller::Interest;
use ampe_poller::socket::{Listener, SocketAddress, Stream};
use socket2::SockRef;

use crate::common::{await_ready, skip};

fn tcp(ip: &str, port: u16) -> SocketAddress {
    SocketAddress::Tcp(SocketAddr::new(ip.parse::<IpAddr>().unwrap(), port))
}

/// A listener at any free port of the address, and the port; nothing if the system does not have it.
fn listen(ip: &str) -> Option<(Listener, u16)> {
    let listener = match Listener::bind(&tcp(ip, 0), 8) {
        Err(error) => {
            skip(&format!("{ip}: {error}"));
            return None;
        }
        Ok(listener) => listener,
    };
    match listener.local_address().unwrap() {
        SocketAddress::Tcp(address) => Some((listener, address.port())),
        SocketAddress::Uds(_) => panic!("not an address of TCP"),
    }
}

fn connects(listener: &Listener, to: &SocketAddress) {
    let client = Stream::connect(to).unwrap();
    await_ready(&client, Interest::WRITABLE);
    assert!(client.finish_connect().unwrap());
    await_ready(listener, Interest::READABLE);
    listener.accept().unwrap();
}

#[test]
fn any_address_of_ipv6_takes_both_families_and_others_do_not() {
    let Some((listener, port)) = listen("::") else {
        return;
    };
    assert!(!SockRef::from(&listener).only_v6().unwrap());
    connects(&listener, &tcp("127.0.0.1", port));
    if let Some((one, port_of_one)) = listen("::1") {
        connects(&listener, &tcp("::1", port));
        let _beside = Listener::bind(&tcp("127.0.0.1", port_of_one), 1).unwrap();
        connects(&one, &tcp("::1", port_of_one));
    }
}

#[test]
fn any_address_of_both_families_is_in_use_beside_any_address_of_ipv4() {
    for [first, second] in [["::", "0.0.0.0"], ["0.0.0.0", "::"]] {
        let Some((_listener, port)) = listen(first) else {
            continue;
        };
        let error = Listener::bind(&tcp(second, port), 1).unwrap_err();
        // Windows denies an address that another socket has claimed for itself.
        let is_denied = cfg!(windows) && error.kind() == ErrorKind::PermissionDenied;
        if is_denied || error.kind() == ErrorKind::AddrInUse {
            continue;
        }
        skip(&format!("{second}: {error}"));
        assert!(listen(second).is_none(), "{second} beside {first}: {error}");
    }
}

/// In a network namespace of its own, where the system's setting can be turned over.
#[test]
#[cfg(target_os = "linux")]
fn any_address_of_ipv6_takes_both_families_whatever_the_system_is_set_to() {
    use std::process::Command;
    const INSIDE: &str = "AMPE_TEST_WITH_ONLY_V6";
    if std::env::var_os(INSIDE).is_some() {
        let address = tcp("::1", 0);
        let other = Listener::bind(&address, 1);
        assert!(other.is_err() || SockRef::from(&other.unwrap()).only_v6().unwrap());
        let (listener, _) = listen("::").unwrap();
        assert!(!SockRef::from(&listener).only_v6().unwrap());
        return;
    }
    let script = "echo 1 > /proc/sys/net/ipv6/bindv6only || exit 77; exec \"$@\"";
    let name =
        "sockets::families::any_address_of_ipv6_takes_both_families_whatever_the_system_is_set_to";
    let inside = Command::new("unshare")
        .args([
            "--user",
            "--map-root-user",
            "--net",
            "sh",
            "-c",
            script,
            "sh",
        ])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name])
        .env(INSIDE, "1")
        .output();
    match inside {
        Err(error) => skip(&format!("a namespace with another setting: {error}")),
        Ok(inside) if matches!(inside.status.code(), Some(1 | 77)) => {
            let said = String::from_utf8_lossy(&inside.stderr);
            skip(&format!(
                "a namespace with another setting: {}",
                said.trim()
            ));
        }
        Ok(inside) => {
            let said = String::from_utf8_lossy(&inside.stdout);
            assert!(
                inside.status.success() && said.contains("1 passed"),
                "{said}"
            );
        }
    }
}
