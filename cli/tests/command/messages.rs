//! `ampe call`, `ampe reply` and `ampe tell`.

use std::fs::File;
use std::process::Stdio;

use ampe::Event;
use serde_json::Value;

use crate::common::receiving::Receiving;
use crate::common::{self, Finished, Place, Running, on_each_transport, run, start, start_with};

const TCP: &str = "tcp://127.0.0.1:0";

fn reply(listen: &str, options: &[&str]) -> (Running, String) {
    let mut reply = start(&[&["reply", "--listen", listen], options].concat());
    let address = reply.line();
    (reply, address)
}

/// Runs `ampe` with this as its stdin.
fn run_with(place: &Place, stdin: &[u8], arguments: &[&str]) -> Finished {
    let path = place.path().join("stdin");
    std::fs::write(&path, stdin).unwrap();
    let stdin = Stdio::from(File::open(path).unwrap());
    let started = start_with(arguments, |command| {
        command.stdin(stdin);
    });
    started.finish()
}

fn documents(finished: &Finished) -> Vec<Value> {
    let lines = finished.stdout.iter();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn a_call_prints_the_answer_and_its_account() {
    on_each_transport(|_, listen| {
        let (replying, to) = reply(listen, &["--body", "pong", "-H", "A: b"]);
        let called = run(&["call", "--to", &to, "ping"]);
        called.assert_succeeds();
        assert_eq!(called.stdout, ["pong"]);
        assert!(called.stderr.contains("answered in "), "{called:?}");
        let account = "posted 3 = sent 3 + returned 0; confirmed 3";
        assert!(called.stderr.contains(account), "{called:?}");

        let called = run(&["call", "--json", "--count", "2", "--to", &to]);
        called.assert_succeeds();
        assert_eq!(called.stderr, "");
        let documents = documents(&called);
        assert_eq!(documents.len(), 3);
        for (document, number) in documents.iter().zip([1, 2]) {
            assert_eq!(
                (&document["event"], &document["number"]),
                (&"answer".into(), &number.into())
            );
            assert_eq!(document["body"], "pong");
            assert_eq!(document["headers"], serde_json::json!([["A", "b"]]));
        }
        assert_eq!(documents[2]["event"], "ended");
        assert_eq!(documents[2]["account"]["confirmed"], 4);
        if replying.interrupt() {
            let replied = replying.finish();
            assert_eq!(replied.code, Some(130));
            assert!(
                replied.stderr.contains("answered 3 requests"),
                "{replied:?}"
            );
        }
    });
}

#[test]
fn what_is_asked_arrives_as_it_was_said() {
    let mut receiving = Receiving::small();
    let to = receiving.address.clone();
    let headers = ["--hello", "Who: me", "-H", "Job:a:b", "-H", "Job:c"];
    let place = Place::new();
    let file = place.file("file", 65_535);
    let body = format!("@{}", file.display());
    let call = ["call", "--quiet", "--to", &to, &body];
    let calling = start(&[&call[..], &headers].concat());
    let Event::Hello(hello) = receiving.next() else {
        panic!("no Hello");
    };
    assert_eq!(hello.text_headers().get("Who").unwrap(), b"me");
    receiving
        .group
        .post(hello.accept(receiving.group.message()))
        .unwrap();
    let request = receiving.request(|_| {});
    assert_eq!(request.body(), common::content(65_535));
    let headers: Vec<_> = request.text_headers().into_iter().collect();
    assert_eq!(headers, [(&b"Job"[..], &b"a:b"[..]), (b"Job", b"c")]);
    // An answer in parts, after something else.
    let signal = receiving.message(&[]).signal(request.channel());
    receiving.group.post(signal).unwrap();
    for (part, is_last) in [("one, ", false), ("two", true)] {
        let message = receiving.message(&[]).with_body(part.as_bytes()).unwrap();
        let answer = request.reply(message);
        let answer = if is_last { answer } else { answer.more() };
        receiving.group.post(answer).unwrap();
    }
    receiving.closed();
    let called = calling.finish();
    called.assert_succeeds();
    assert_eq!(
        (called.stdout, called.stderr),
        (vec!["one, two".to_owned()], String::new())
    );
}

/// Whether it may be asked again is what whoever asks has to know.
#[test]
fn a_call_without_an_answer_says_what_became_of_the_request() {
    let mut receiving = Receiving::small();
    let to = receiving.address.clone();
    let calling = start(&["call", "--timeout", "0.4", "--to", &to, "hello"]);
    let Event::Hello(hello) = receiving.next() else {
        panic!("no Hello");
    };
    receiving
        .group
        .post(hello.accept(receiving.group.message()))
        .unwrap();
    receiving.request(|_| {});
    let called = calling.finish();
    assert_eq!(called.code, Some(124), "{called:?}");
    assert!(
        called
            .stderr
            .contains("sent, and whether it was served is unknown"),
        "{called:?}"
    );
    assert!(called.stdout.is_empty());

    // Nobody listens there any more.
    drop(receiving);
    let called = run(&["call", "--json", "--to", &to, "hello"]);
    called.assert_fails(
        1,
        &["could not connect", "the request was returned, not sent"],
    );
    let ended = &documents(&called)[0];
    assert_eq!(ended["account"]["returned"], ended["account"]["posted"]);
    assert!(ended["error"].as_str().unwrap().contains("was returned"));
}

#[test]
fn each_line_is_asked_and_all_answers_are_waited_for() {
    let place = Place::new();
    let (_reply, to) = reply(TCP, &["--body", "pong"]);
    let lines: String = (0..5000).map(|number| format!("{number}\n")).collect();
    let called = run_with(&place, lines.as_bytes(), &["call", "--lines", "--to", &to]);
    called.assert_succeeds();
    assert_eq!(called.stdout.len(), 5000);
    assert!(called.stderr.contains("confirmed 5002"), "{called:?}");

    // One that is too long is told, and does not stop the others.
    let long = format!("first\n{}\nlast\n", "x".repeat(70_000));
    let called = run_with(
        &place,
        long.as_bytes(),
        &["call", "--lines", "--json", "--to", &to],
    );
    called.assert_fails_among(&["line 2 was not sent", "65535"]);
    let numbers: Vec<_> = documents(&called)
        .iter()
        .map(|document| document["number"].clone())
        .collect();
    assert_eq!(numbers, [1.into(), 3.into(), Value::Null]);
}

#[test]
fn lines_that_are_not_answered_are_counted() {
    let place = Place::new();
    let mut receiving = Receiving::small();
    let to = receiving.address.clone();
    let serving = std::thread::spawn(move || {
        let Event::Hello(hello) = receiving.next() else {
            panic!("no Hello");
        };
        receiving
            .group
            .post(hello.accept(receiving.group.message()))
            .unwrap();
        let request = receiving.request(|_| {});
        receiving.answer(&request, &[]);
        receiving.closed();
    });
    let call = ["call", "--lines", "--timeout", "0.4", "--to", &to];
    let called = run_with(&place, b"one\ntwo\nthree\n", &call);
    serving.join().unwrap();
    assert_eq!(called.code, Some(124), "{called:?}");
    assert!(
        called.stderr.contains("2 of 3 requests were not answered"),
        "{called:?}"
    );
}

#[test]
fn what_is_told_arrives_and_is_confirmed() {
    let place = Place::new();
    let mut receiving = Receiving::small();
    let to = receiving.address.clone();
    let serving = std::thread::spawn(move || {
        let mut bodies = Vec::new();
        loop {
            match receiving.next() {
                Event::Hello(hello) => {
                    let answer = hello.accept(receiving.group.message());
                    receiving.group.post(answer).unwrap();
                }
                Event::Signal(signal) => {
                    assert_eq!(signal.text_headers().get("Kind").unwrap(), b"line");
                    bodies.push(String::from_utf8(signal.body().to_owned()).unwrap());
                }
                Event::Bye(_) => {}
                Event::Closed(_) => return bodies,
                event => panic!("{event:?}"),
            }
        }
    });
    let tell = ["tell", "-H", "Kind:line", "--to", &to];
    let told = run_with(&place, b"one\n\nthree", &tell);
    told.assert_succeeds();
    assert!(told.stdout.is_empty());
    assert!(told.stderr.contains("confirmed 5"), "{told:?}");
    assert_eq!(serving.join().unwrap(), ["one", "", "three"]);
    run(&["tell", "--quiet", "--to", &to, "x"]).assert_fails(1, &["could not connect"]);
}

#[test]
fn one_body_is_told_too() {
    let (_reply, to) = reply(TCP, &["--body", ""]);
    let told = run(&["tell", "--json", "--to", &to, "the door is open"]);
    told.assert_succeeds();
    assert_eq!(documents(&told)[0]["account"]["confirmed"], 3);
    let told = run(&["tell", "--quiet", "--to", &to, "the door is open"]);
    assert_eq!((told.code, told.stderr.as_str()), (Some(0), ""));
}

#[test]
fn beyond_this_machine_only_for_anyone() {
    let refused = run(&["reply", "--listen", "tcp://0.0.0.0:0", "--body", "x"]);
    refused.assert_fails(2, &["nothing authenticates who asks", "--anyone"]);
    let (_reply, _) = reply("tcp://0.0.0.0:0", &["--body", "x", "--anyone"]);
}

#[test]
fn wrong_usage_of_messages() {
    let to = "tcp://127.0.0.1:1";
    for (arguments, said) in [
        (&["call", "--to", to, "-H", "none", "x"][..], "no header"),
        (&["call", "--to", to, "--lines", "x"], "--lines takes"),
        (&["call", "--to", to, "--count", "0"], "--count"),
        (&["reply", "--listen", TCP], "--body"),
        (
            &["reply", "--listen", TCP, "--body", "x", "--command", "y"],
            "--command",
        ),
        (
            &["reply", "--listen", TCP, "--body", "x", "-H", "A:b\nC:d"],
            "header",
        ),
    ] {
        run(arguments).assert_fails(2, &[said]);
    }
    run(&["call", "--to", to, "@missing"]).assert_fails(1, &["cannot read missing"]);
}

#[cfg(unix)] // elsewhere there are other commands
#[test]
fn a_command_answers_several_at_the_same_time() {
    let place = Place::new();
    let gate = place.path().join("gate");
    let command = format!(
        "read line; case $line in slow) until [ -e '{}' ]; do sleep 0.01; done;; fail) exit 3;; \
         esac; echo \"$line to $AMPE_PEER\"; printf %s \"$AMPE_HEADERS\"",
        gate.display()
    );
    let (_reply, to) = reply(TCP, &["--command", &command, "--jobs", "2"]);
    let slow = start(&["call", "--quiet", "--to", &to, "slow"]);
    let quick = run(&["call", "--quiet", "--to", &to, "-H", "Job:JDF", "quick"]);
    quick.assert_succeeds();
    assert!(
        quick.stdout[0].starts_with("quick to tcp://127.0.0.1:"),
        "{quick:?}"
    );
    assert_eq!(quick.stdout[1], "Job:JDF");
    let failed = run(&["call", "--json", "--to", &to, "fail"]);
    failed.assert_succeeds();
    let headers = &documents(&failed)[0]["headers"];
    assert_eq!(headers, &serde_json::json!([["Exit-Code", "3"]]));
    std::fs::write(&gate, "").unwrap();
    let slow = slow.finish();
    slow.assert_succeeds();
    assert!(slow.stdout[0].starts_with("slow to "), "{slow:?}");
}

/// In parts, if it must be; and behind them the goodbye is answered.
#[cfg(unix)]
#[test]
fn a_command_may_say_more_than_a_body_holds() {
    let place = Place::new();
    let file = place.file("file", 200_000);
    let command = format!("cat '{}'", file.display());
    let (_reply, to) = reply(TCP, &["--command", &command]);
    let answer = place.path().join("answer");
    let status = std::process::Command::new(env!("CARGO_BIN_EXE_ampe"))
        .args(["call", "--quiet", "--to", &to])
        .stdout(File::create(&answer).unwrap())
        .status()
        .unwrap();
    assert!(status.success());
    assert_eq!(std::fs::read(answer).unwrap(), common::content(200_000));
}

#[test]
fn what_comes_is_printed_a_line_each() {
    let tail = |options: &[&str]| {
        let mut tail = start(&[&["tail", "--listen", TCP], options].concat());
        let line = tail.line();
        (tail, line)
    };
    let (mut tailing, to) = tail(&[]);
    run(&["tell", "--quiet", "--to", &to, "-H", "Kind:x", "one\ntwo"]).assert_succeeds();
    let expected = [
        (" HelloRequest ", "] 0 B"),
        (" Signal ", r#"[Kind:x] 7 B "one\ntwo""#),
        (" ByeRequest ", "[] 0 B"),
        (" closed: ", "posted 2 = sent 2 + returned 0"),
    ];
    for (kind, rest) in expected {
        let line = tailing.line();
        assert!(
            line.contains(" tcp://127.0.0.1:") && line.contains(kind),
            "{line}"
        );
        assert!(line.contains(rest), "{line}");
    }

    let (tailing, listening) = tail(&["--json", "--timeout", "0.5"]);
    let listening: Value = serde_json::from_str(&listening).unwrap();
    let to = listening["address"].as_str().unwrap();
    let called = run(&["call", "--quiet", "--to", to, "-H", "A:b", "ask"]);
    called.assert_succeeds();
    let tailed = tailing.finish();
    tailed.assert_succeeds();
    let documents = documents(&tailed);
    let request = &documents[2];
    assert_eq!(
        (&request["op"], &request["body"]),
        (&"Request".into(), &"ask".into())
    );
    assert_eq!(request["headers"], serde_json::json!([["A", "b"]]));
    let ended = documents.last().unwrap();
    assert_eq!(
        (&ended["event"], &ended["messages"]),
        (&"ended".into(), &3.into())
    );
    let refused = run(&["tail", "--listen", "tcp://0.0.0.0:0"]);
    refused.assert_fails(2, &["--anyone"]);
}

#[test]
fn a_benchmark_keeps_its_rate_and_both_accounts() {
    let mut echo = start(&["echo", "--listen", "127.0.0.1:0"]);
    let to = echo.line();
    let bench = [
        "bench",
        "--to",
        &to,
        "--for",
        "0.5",
        "--connections",
        "3",
        "--json",
    ];
    let measured = run(&[&bench[..], &["--rate", "1000"]].concat());
    measured.assert_succeeds();
    let document: Value = serde_json::from_str(&measured.stdout[0]).unwrap();
    // Each that was due in half a second, however late it was, and the one at its beginning.
    let answers = document["answers"].as_u64().unwrap();
    assert!((1..=501).contains(&answers), "{document}");
    let account = &document["account"];
    assert_eq!(
        account["posted"],
        answers + 6,
        "with three hellos and goodbyes: {document}"
    );
    assert_eq!(account["confirmed"], document["peer"]["received"]);
    let measured = run(&bench);
    measured.assert_succeeds();
    let document: Value = serde_json::from_str(&measured.stdout[0]).unwrap();
    assert!(document["answers"].as_u64().unwrap() > 0, "{document}");
    assert!(
        document["latency_us"]["p99.9"].as_f64().unwrap() > 0.0,
        "{document}"
    );
}

/// Time in which the other side was stopped is in the latencies: of every Request that was due, not only
/// of those that could be sent.
#[cfg(unix)] // elsewhere no process can be stopped
#[test]
fn a_pause_of_the_other_side_is_measured_and_not_left_out() {
    let mut echo = start(&["echo", "--listen", "127.0.0.1:0"]);
    let to = echo.line();
    let bench = [
        "bench", "--to", &to, "--rate", "1000", "--for", "1.5", "--json",
    ];
    let running = start(&bench);
    std::thread::sleep(std::time::Duration::from_millis(300));
    echo.signal("STOP");
    std::thread::sleep(std::time::Duration::from_millis(500));
    echo.signal("CONT");
    let measured = running.finish();
    measured.assert_succeeds();
    let document: Value = serde_json::from_str(&measured.stdout[0]).unwrap();
    assert!(
        document["latency_us"]["p90"].as_f64().unwrap() > 50_000.0,
        "{document}"
    );
}

#[test]
fn a_benchmark_of_nobody_fails() {
    let mut tail = start(&["tail", "--listen", "127.0.0.1:0"]);
    let to = tail.line();
    drop(tail);
    let bench = ["bench", "--to", &to, "--for", "0.1", "--timeout", "1"];
    run(&bench).assert_fails(1, &["could not connect"]);
}

/// An option that is typed is before one in the environment, and that before one in the file.
#[test]
fn defaults_are_taken_from_the_environment_and_a_file() {
    let place = Place::new();
    let config = place.path().join("config");
    let (_reply, to) = reply(TCP, &["--body", "pong"]);
    let run = |text: &str, environment: &[(&str, &str)], arguments: &[&str]| {
        std::fs::write(&config, text).unwrap();
        let called = start_with(arguments, |command| {
            command.env("AMPE_CONFIG", &config);
            command.envs(environment.iter().copied());
        });
        called.finish()
    };
    let file = format!("to = {to}\n[call]\nquiet = true\n");
    let called = run(&file, &[], &["call", "x"]);
    called.assert_succeeds();
    assert_eq!(
        (&called.stdout[..], called.stderr.as_str()),
        (&["pong".to_owned()][..], "")
    );
    run("to = 1", &[("AMPE_TO", &to)], &["call", "x"]).assert_succeeds();
    run("to = 1", &[("AMPE_TO", "1")], &["call", "--to", &to, "x"]).assert_succeeds();
    run("to = 1", &[], &["call", "x"]).assert_fails_among(&["could not connect"]);
    run("[call]\nfrom = 1", &[], &["call", "x"]).assert_fails(2, &["no option --from"]);
    std::fs::remove_file(&config).unwrap();
    let missing = [("AMPE_CONFIG", "/nonexistent/config")];
    let called = start_with(&["call", "--to", &to, "x"], |command| {
        command.envs(missing);
    });
    called.finish().assert_fails(2, &["file of defaults"]);
}

#[test]
fn a_stranger_is_told_of_once() {
    let serving = ["tail", "echo"].map(|command| {
        let mut serving = start(&[command, "--listen", TCP]);
        let to = serving.line();
        let port = to.strip_prefix("tcp://").unwrap();
        for _ in 0..3 {
            let mut stranger = std::net::TcpStream::connect(port).unwrap();
            std::io::Write::write_all(&mut stranger, &[0x0f; 64]).unwrap();
            let _ = std::io::Read::read(&mut stranger, &mut [0]);
        }
        serving
    });
    std::thread::sleep(std::time::Duration::from_millis(2500));
    for serving in serving {
        if serving.interrupt() {
            let ended = serving.finish();
            assert_eq!(
                ended.stderr.matches("did not say hello").count(),
                1,
                "{ended:?}"
            );
        }
    }
}

#[test]
fn recipes_are_printed_by_topic() {
    let all = run(&["cheat"]);
    all.assert_succeeds();
    for line in &all.stdout {
        let topic = line.split(' ').next().unwrap();
        let sheet = run(&["cheat", topic]);
        sheet.assert_succeeds();
        assert!(
            sheet.stdout.iter().any(|line| line.starts_with("ampe ")),
            "{sheet:?}"
        );
    }
    run(&["cheat", "cooking"]).assert_fails(2, &["no topic", "files"]);
}
