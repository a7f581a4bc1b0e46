use super::*;

fn text(text: &str) -> Result<Address, AddressError> {
    text.parse()
}

#[test]
fn tcp_addresses_are_read_and_written_in_both_forms() {
    for (given, canonical, wire) in [
        (
            "tcp://127.0.0.1:7099",
            "tcp://127.0.0.1:7099",
            "tcp|127.0.0.1|7099",
        ),
        (
            "127.0.0.1:7099",
            "tcp://127.0.0.1:7099",
            "tcp|127.0.0.1|7099",
        ),
        ("TCP://127.0.0.1:0", "tcp://127.0.0.1:0", "tcp|127.0.0.1|0"),
        ("tcp://[::1]:5", "tcp://[::1]:5", "tcp|::1|5"),
        ("[0:0::1]:65535", "tcp://[::1]:65535", "tcp|::1|65535"),
        (
            "[fe80::1%eth0]:80",
            "tcp://[fe80::1%eth0]:80",
            "tcp|fe80::1%eth0|80",
        ),
        (
            "[FE80:0::1%2]:80",
            "tcp://[fe80::1%2]:80",
            "tcp|fe80::1%2|80",
        ),
        (
            "tcp://example.org:80",
            "tcp://example.org:80",
            "tcp|example.org|80",
        ),
        ("localhost:0080", "tcp://localhost:80", "tcp|localhost|80"),
        ("tcp://0.0.0.0:1", "tcp://0.0.0.0:1", "tcp|0.0.0.0|1"),
        ("tcp://:7099", "tcp://:7099", "tcp||7099"),
        (":7099", "tcp://:7099", "tcp||7099"),
    ] {
        let address = text(given).unwrap();
        assert_eq!(address.to_string(), canonical);
        assert_eq!(address.to_wire(), wire);
        assert_eq!(Address::from_wire(wire).as_ref(), Ok(&address));
        assert_eq!(
            Address::from_wire_bytes(wire.as_bytes()).as_ref(),
            Ok(&address)
        );
        assert_eq!(text(canonical), Ok(address));
    }
}

#[test]
fn an_address_with_tls_is_read_and_written_like_one_without() {
    for (given, canonical, wire) in [
        (
            "tls://shop.example:7099",
            "tls://shop.example:7099",
            "tls|shop.example|7099",
        ),
        ("TLS://[0::1]:5", "tls://[::1]:5", "tls|::1|5"),
        (
            "tls://[fe80::1%2]:80",
            "tls://[fe80::1%2]:80",
            "tls|fe80::1%2|80",
        ),
        ("tls://:0", "tls://:0", "tls||0"),
    ] {
        let address = text(given).unwrap();
        assert!(address.is_tls());
        assert_eq!(address.to_string(), canonical);
        assert_eq!(address.to_wire(), wire);
        assert_eq!(Address::from_wire(wire).as_ref(), Ok(&address));
        let plain = text(&canonical.replace("tls", "tcp")).unwrap();
        assert!(!plain.is_tls() && plain != address);
        assert_eq!(
            (plain.host(), plain.port()),
            (address.host(), address.port())
        );
        assert_eq!(plain.socket_addr(), address.socket_addr());
        assert_eq!(plain.is_loopback(), address.is_loopback());
        assert_eq!(plain.check_connect(), address.check_connect());
    }
    assert!(matches!(
        text("tls|::1|5"),
        Err(AddressError::WireForm { .. })
    ));
    assert!(matches!(
        text("tls://host"),
        Err(AddressError::MissingPort { .. })
    ));
}

#[test]
fn paths_are_read_and_written_in_both_forms() {
    for (given, path) in [
        ("uds:///tmp/a.sock", "/tmp/a.sock"),
        ("/tmp/a.sock", "/tmp/a.sock"),
        ("./a", "./a"),
        (".a:1", ".a:1"),
        ("run/a", "run/a"),
        ("./tcp://x", "./tcp://x"),
        ("/tmp/tcp://x:1", "/tmp/tcp://x:1"),
        ("uds://a", "a"),
        ("uds://uds|/x", "uds|/x"),
        ("uds:///tmp/a|b|c", "/tmp/a|b|c"),
        ("uds:///tmp/with space%20", "/tmp/with space%20"),
        (r"C:\run\a.sock", r"C:\run\a.sock"),
        ("Uds:///tmp/ünïcode", "/tmp/ünïcode"),
    ] {
        let address = text(given).unwrap();
        assert_eq!(address, Address::uds(path).unwrap());
        assert_eq!(address.path(), Some(Path::new(path)));
        assert_eq!(address.to_string(), format!("uds://{path}"));
        assert_eq!(address.to_wire(), format!("uds|{path}"));
        assert_eq!(
            Address::from_wire(&address.to_wire()).as_ref(),
            Ok(&address)
        );
        assert_eq!(text(&address.to_string()), Ok(address));
    }
}

fn unknown_scheme(scheme: &str) -> AddressError {
    AddressError::UnknownScheme {
        scheme: scheme.to_owned(),
    }
}

fn wire_form(text: &str) -> AddressError {
    AddressError::WireForm {
        text: text.to_owned(),
    }
}

fn missing_port(text: &str) -> AddressError {
    AddressError::MissingPort {
        text: text.to_owned(),
    }
}

fn invalid_port(port: &str) -> AddressError {
    AddressError::InvalidPort {
        port: port.to_owned(),
    }
}

fn extra_part(text: &str) -> AddressError {
    AddressError::ExtraPart {
        text: text.to_owned(),
    }
}

fn invalid_host(host: &str, character: char) -> AddressError {
    AddressError::InvalidHost {
        host: host.to_owned(),
        character,
    }
}

fn invalid_ipv4(host: &str) -> AddressError {
    AddressError::InvalidIpv4 {
        host: host.to_owned(),
    }
}

fn invalid_ipv6(host: &str) -> AddressError {
    AddressError::InvalidIpv6 {
        host: host.to_owned(),
    }
}

fn brackets_needed(text: &str) -> AddressError {
    AddressError::BracketsNeeded {
        text: text.to_owned(),
    }
}

fn invalid_path(character: char) -> AddressError {
    AddressError::InvalidPath { character }
}

fn abstract_socket(name: &str) -> AddressError {
    AddressError::AbstractSocket {
        name: name.to_owned(),
    }
}

#[test]
fn each_fault_of_a_text_as_a_whole_has_its_own_error() {
    for (given, error) in [
        ("", AddressError::Empty),
        ("http://example.org:80", unknown_scheme("http")),
        ("tcps://example.org:80", unknown_scheme("tcps")),
        ("tcp|127.0.0.1|80", wire_form("tcp|127.0.0.1|80")),
        ("uds|/tmp/a", wire_form("uds|/tmp/a")),
        ("tcp://", missing_port("")),
        ("tcp://localhost", missing_port("localhost")),
        ("localhost", missing_port("localhost")),
        ("[::1]", missing_port("[::1]")),
        ("[::1]80", missing_port("[::1]80")),
        ("tcp://h:70000", invalid_port("70000")),
        ("tcp://h:65536", invalid_port("65536")),
        ("h:", invalid_port("")),
        ("h:+80", invalid_port("+80")),
        ("h:-1", invalid_port("-1")),
        ("h:http", invalid_port("http")),
        ("tcp://h:80/path", invalid_port("80/path")),
    ] {
        assert_eq!(text(given), Err(error), "{given:?}");
    }
}

#[test]
fn each_fault_of_a_host_has_its_own_error() {
    for (given, error) in [
        ("tcp://a|b:1", invalid_host("a|b", '|')),
        ("tcp://a\r\nb:1", invalid_host(r"a\r\nb", '\r')),
        ("tcp://a\u{7f}:1", invalid_host(r"a\u{7f}", '\u{7f}')),
        ("tcp://a b:1", invalid_host("a b", ' ')),
        ("tcp://a\u{a0}b:1", invalid_host(r"a\u{a0}b", '\u{a0}')),
        ("tcp://me@host:1", invalid_host("me@host", '@')),
        ("tcp://a]:1", invalid_host("a]", ']')),
        ("tcp://a/b:1", invalid_host("a/b", '/')),
        ("tcp://256.0.0.1:1", invalid_ipv4("256.0.0.1")),
        ("127.1:1", invalid_ipv4("127.1")),
        ("1:1", invalid_ipv4("1")),
        ("::1:80", brackets_needed("::1:80")),
        ("tcp://[::1:80", brackets_needed("[::1:80")),
        ("[::g]:80", invalid_ipv6("::g")),
        ("[::1%]:80", invalid_ipv6("::1%")),
        ("[::1%4294967296]:80", invalid_ipv6("::1%4294967296")),
        ("tcp://[fe80::1%25a/b]:80", invalid_host("fe80::1%a/b", '/')),
        ("[::g%eth0]:80", invalid_ipv6("::g%eth0")),
        ("[127.0.0.1]:80", invalid_ipv6("127.0.0.1")),
        ("[]:80", invalid_ipv6("")),
        ("[name]:80", invalid_ipv6("name")),
    ] {
        assert_eq!(text(given), Err(error), "{given:?}");
    }
    for character in [
        '|', '/', '\\', '[', ']', '@', '?', '#', '\0', '\n', '\t', '\u{85}',
    ] {
        let quoted = format!("a{}b", character.escape_debug());
        assert_eq!(
            Host::new(&format!("a{character}b")),
            Err(invalid_host(&quoted, character))
        );
    }
}

#[test]
fn each_fault_of_a_path_has_its_own_error() {
    for (given, error) in [
        ("uds://", AddressError::EmptyPath),
        ("uds:///tmp/a\nb", invalid_path('\n')),
        ("/tmp/a\rb", invalid_path('\r')),
        ("/tmp/a\0", invalid_path('\0')),
        ("uds://\0name", abstract_socket("@name")),
        ("uds://@name", abstract_socket("@name")),
        ("uds://@/run/a\n", abstract_socket(r"@/run/a\n")),
        ("/tmp/a ", AddressError::PathEndsBlank),
        ("/tmp/a\t", AddressError::PathEndsBlank),
    ] {
        assert_eq!(text(given), Err(error), "{given:?}");
    }
}

#[test]
fn each_fault_of_the_wire_form_has_its_own_error() {
    for (given, error) in [
        ("", AddressError::Empty),
        ("xyz|h|1", unknown_scheme("xyz")),
        ("TCP|h|1", unknown_scheme("TCP")),
        ("|h|1", unknown_scheme("")),
        ("tcp://h:1", unknown_scheme("tcp://h:1")),
        ("tcp", missing_port("tcp")),
        ("tcp|h", missing_port("tcp|h")),
        ("tcp|h|1|x", extra_part("x")),
        ("tcp|h|1|", extra_part("")),
        ("tcp|h|1|x|y", extra_part("x|y")),
        ("tcp|h|", invalid_port("")),
        ("tcp|h| 1", invalid_port(" 1")),
        ("tcp|h|65536", invalid_port("65536")),
        ("tcp|[::1]|1", invalid_host("[::1]", '[')),
        ("tcp|h:1|1", invalid_ipv6("h:1")),
        ("uds", AddressError::EmptyPath),
        ("uds|", AddressError::EmptyPath),
        ("uds|/a\r", invalid_path('\r')),
        ("uds|@name", abstract_socket("@name")),
    ] {
        assert_eq!(Address::from_wire(given), Err(error), "{given:?}");
    }
    assert_eq!(
        Address::from_wire_bytes(b"uds|/tmp/\xFF"),
        Err(AddressError::NotUtf8)
    );
}

#[test]
fn lengths_are_limited_to_the_byte() {
    let host = "h".repeat(MAX_HOST_LEN);
    assert_eq!(Host::new(&host).unwrap().name(), Some(&*host));
    let len = MAX_HOST_LEN + 1;
    let error = Err(AddressError::HostTooLong { len });
    assert_eq!(Address::tcp(&"h".repeat(len), 1), error);
    assert_eq!(text(&format!("{}:1", "h".repeat(len))), error);
    assert_eq!(
        Address::from_wire(&format!("tcp|{}|1", "h".repeat(len))),
        error
    );

    let path = "/".repeat(MAX_UDS_PATH_LEN);
    assert_eq!(UdsPath::new(&path).unwrap().as_str(), path);
    let len = MAX_UDS_PATH_LEN + 1;
    let error = Err(AddressError::PathTooLong { len });
    assert_eq!(Address::uds("/".repeat(len)), error);
    assert_eq!(text(&"/".repeat(len)), error);
    assert_eq!(
        Address::from_wire(&format!("uds|{}", "/".repeat(len))),
        error
    );
    // Bytes count, not characters.
    assert!(UdsPath::new("ü".repeat(MAX_UDS_PATH_LEN / 2 + 1)).is_err());
}

#[test]
fn the_path_limit_is_that_of_the_system() {
    let apple_or_bsd = cfg!(target_vendor = "apple") || std::env::consts::OS.ends_with("bsd");
    let dragonfly = std::env::consts::OS == "dragonfly";
    assert_eq!(
        MAX_UDS_PATH_LEN,
        if apple_or_bsd || dragonfly { 103 } else { 107 }
    );
}

#[cfg(unix)]
#[test]
fn a_path_that_is_no_utf8_is_refused() {
    use std::os::unix::ffi::OsStrExt;
    let path = Path::new(std::ffi::OsStr::from_bytes(b"/tmp/\xFF"));
    assert_eq!(Address::uds(path), Err(AddressError::NotUtf8));
}

#[test]
fn parts_are_accessible() {
    let tcp = text("tcp://example.org:80").unwrap();
    assert_eq!(tcp.host().unwrap().name(), Some("example.org"));
    assert_eq!(
        (tcp.port(), tcp.path(), tcp.socket_addr()),
        (Some(80), None, None)
    );
    let uds = text("/tmp/a").unwrap();
    assert_eq!(
        (uds.host(), uds.port(), uds.socket_addr()),
        (None, None, None)
    );
    let Address::Uds(path) = uds else {
        panic!("a Unix socket")
    };
    assert_eq!(
        (path.as_path(), &*path),
        (Path::new("/tmp/a"), Path::new("/tmp/a"))
    );
    let any = text(":80").unwrap();
    assert!(any.host().unwrap().is_any());
    assert_eq!(any.socket_addr(), Some("0.0.0.0:80".parse().unwrap()));
    assert_eq!(any.host().unwrap().name(), None);
    let zoned = text("[fe80::1%eth0]:80").unwrap();
    assert_eq!(zoned.host().unwrap().name(), Some("fe80::1%eth0"));
    assert_eq!(
        (zoned.host().unwrap().ip(), zoned.socket_addr()),
        (None, None)
    );
}

#[test]
fn socket_addresses_become_addresses_and_back() {
    for literal in ["127.0.0.1:80", "[::1]:0", "0.0.0.0:65535"] {
        let socket_addr: SocketAddr = literal.parse().unwrap();
        let address = Address::from(socket_addr);
        assert_eq!(address, text(literal).unwrap());
        assert_eq!(address.socket_addr(), Some(socket_addr));
    }
    for zone in [3, 25, 251, 2525, u32::MAX] {
        let scoped: SocketAddr = format!("[fe80::1%{zone}]:80").parse().unwrap();
        let address = Address::from(scoped);
        assert_eq!(address, text(&format!("[fe80::1%{zone}]:80")).unwrap());
        assert_eq!(address.socket_addr(), Some(scoped));
        assert_eq!(address.host().unwrap().name(), None, "nobody is asked");
        let endpoint = crate::Endpoint::Tcp(scoped).to_string();
        assert_eq!(text(&endpoint), Ok(address));
    }
}

#[test]
fn a_zone_is_read_with_a_plain_percent_sign_and_as_in_urls() {
    let name = |given: &str| {
        text(given)
            .unwrap()
            .host()
            .unwrap()
            .name()
            .map(str::to_owned)
    };
    for (given, zoned) in [
        ("[fe80::1%eth0]:80", "fe80::1%eth0"),
        ("[fe80::1%25eth0]:80", "fe80::1%eth0"),
        ("[FE80::0:1%25eth0]:80", "fe80::1%eth0"),
        // An interface called `25x` is written as in URLs, to be told from `x`.
        ("[fe80::1%2525x]:80", "fe80::1%25x"),
        ("[fe80::1%a%25b]:80", "fe80::1%a%25b"),
    ] {
        assert_eq!(name(given).as_deref(), Some(zoned), "{given}");
    }
    let odd = Address::tcp("fe80::1%25x", 80).unwrap();
    assert_eq!(odd.to_string(), "tcp://[fe80::1%2525x]:80");
    assert_eq!(odd.to_wire(), "tcp|fe80::1%25x|80");
    // No zone at all.
    assert_eq!(text("[fe80::1%0]:80"), text("[fe80::1]:80"));
    // Written out it may be longer than it was given.
    let zone = "z".repeat(MAX_HOST_LEN - "::ffff:ffff:ffff%".len());
    let len = "::ffff:255.255.255.255%".len() + zone.len();
    let error = Err(AddressError::HostTooLong { len });
    assert_eq!(Host::new(&format!("::ffff:ffff:ffff%{zone}")), error);
}

#[test]
fn an_abstract_unix_socket_is_refused_with_a_hint() {
    assert_eq!(
        text("uds://@name").unwrap_err().to_string(),
        "`@name` is an abstract Unix socket, and only those with a path are supported: write \
         uds:///path, or uds://./@name for a file of that name"
    );
    assert_eq!(text("uds://./@name"), Address::uds("./@name"));
}

#[test]
fn loopback_is_told_without_resolving() {
    for (given, expected) in [
        ("127.0.0.1:1", true),
        ("127.255.0.3:1", true),
        ("[::1]:1", true),
        ("[::ffff:127.0.0.1]:1", true),
        ("localhost:1", true),
        ("LocalHost:1", true),
        ("localhost.:1", true),
        ("app.LOCALHOST:1", true),
        ("a.b.localhost.:1", true),
        ("[::1%1]:1", true),
        ("./a", true),
        ("0.0.0.0:1", false),
        (":1", false),
        ("[::]:1", false),
        ("[fe80::1%lo]:1", false),
        ("10.0.0.1:1", false),
        ("localhost.example.org:1", false),
        ("notlocalhost:1", false),
        ("localhost..:1", false),
        ("[fe80::1%1]:1", false),
    ] {
        assert_eq!(text(given).unwrap().is_loopback(), expected, "{given}");
    }
}

#[test]
fn connecting_needs_a_host_and_a_port() {
    assert_eq!(
        text(":80").unwrap().check_connect(),
        Err(AddressError::HostNeeded)
    );
    assert_eq!(
        text("h:0").unwrap().check_connect(),
        Err(AddressError::PortNeeded)
    );
    assert_eq!(text("h:1").unwrap().check_connect(), Ok(()));
    assert_eq!(text("/tmp/a").unwrap().check_connect(), Ok(()));
}

#[test]
fn errors_quote_little_and_on_one_line() {
    let long = format!("{}\r\n://x", "a".repeat(10_000));
    assert!(text(&long).unwrap_err().to_string().len() < 400);
    assert_eq!(
        text(&format!("tcp://h:{}", "9".repeat(81)))
            .unwrap_err()
            .to_string(),
        format!(
            "the port `{}…` is not a number from 0 to 65535",
            "9".repeat(80)
        )
    );
    let forged = text("h:\u{1b}[31m\n").unwrap_err().to_string();
    assert_eq!(
        forged,
        r"the port `\u{1b}[31m\n` is not a number from 0 to 65535"
    );
    let limit = text(&"/".repeat(200)).unwrap_err().to_string();
    assert!(limit.contains(&format!(
        "200 bytes long and the system takes at most {MAX_UDS_PATH_LEN}"
    )));
}

#[test]
fn the_fuzzed_function_tells_the_two_forms_apart() {
    assert_eq!(fuzzing::address(b"tcp://h:1"), (true, false));
    assert_eq!(fuzzing::address(b"tcp|h|1"), (false, true));
    assert_eq!(fuzzing::address(b"\xFF"), (false, false));
    assert_eq!(fuzzing::address(b"nothing"), (false, false));
}

#[test]
fn a_zone_may_be_as_long_as_a_host() {
    let zoned = |len: usize| format!("[fe80::1%{}]:80", "z".repeat(len - "fe80::1%".len()));
    assert!(text(&zoned(MAX_HOST_LEN)).is_ok());
    assert!(matches!(
        text(&zoned(MAX_HOST_LEN + 1)),
        Err(AddressError::HostTooLong { .. })
    ));
}

#[test]
fn what_stands_before_a_colon_and_two_slashes_is_a_scheme_only_if_it_can_be_one() {
    assert!(matches!(
        text("a+b://c"),
        Err(AddressError::UnknownScheme { .. })
    ));
    for path in ["a/b://c", "./a://b"] {
        assert_eq!(text(path).unwrap().path(), Some(std::path::Path::new(path)));
    }
}
