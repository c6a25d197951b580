//! Stopping in order, and not starting twice.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::Value;
use triage_tests::host::deliver_to;
use triage_tests::receiver::Reply;
use triage_tests::{Delivery, Folder, Host, Receiver, config, guest, wait_until};

const CLIENTS: usize = 4;
/// Deliveries that are answered before the host is told to stop.
const ANSWERED_BEFORE: usize = 100;

#[test]
fn a_stop_under_load_loses_nothing_that_was_answered() {
    let mut host = Host::start(&config::desk());
    let (address, over, next) = (host.address(), AtomicBool::new(false), AtomicUsize::new(0));
    let answered: Mutex<Vec<Value>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    let number = next.fetch_add(1, Ordering::SeqCst);
                    if let Ok(answer) =
                        deliver_to(address, &Delivery::incident(&format!("stop-{number}")))
                    {
                        answered.lock().unwrap().push(answer.expect(200).json());
                    }
                }
            });
        }
        wait_until("enough answers", || match answered.lock().unwrap().len() {
            count if ANSWERED_BEFORE <= count => Ok(()),
            count => Err(format!("{count} answers")),
        });
        host.stop();
        over.store(true, Ordering::SeqCst);
    });
    let database = host.database();
    assert_eq!(
        database.count("SELECT count(*) FROM run WHERE state = 'running'"),
        0
    );
    let kept = database.events();
    let answered = answered.into_inner().unwrap();
    for answer in &answered {
        let event_id = answer["event_id"]
            .as_str()
            .unwrap()
            .trim_start_matches("evt_");
        assert!(
            kept.values().any(|it| it.event_id == event_id),
            "answered and gone: {answer}"
        );
    }
    host.restart();
    host.wait_until_idle();
    let database = host.database();
    database.check();
    assert_eq!(
        database.count("SELECT count(*) FROM ticket"),
        kept.len() as u64
    );
    assert_eq!(
        database.count("SELECT count(*) FROM run WHERE state <> 'completed'"),
        0
    );
}

#[test]
fn a_stop_right_after_the_start_is_in_order() {
    for _ in 0..5 {
        Host::start("").stop();
    }
}

#[test]
fn a_stop_does_not_wait_for_what_is_to_be_tried_later() {
    let receiver = Receiver::start(&[Reply {
        status: 503,
        retry_after: Some("120"),
    }]);
    let sections = config::desk_and_webhook(&receiver.url(), "");
    let mut host = Host::start(&format!("[egress]\nallow = [\"127.0.0.1\"]\n{sections}"));
    let answer = host.accept(&Delivery::incident("later-1"));
    receiver.wait_for(1);
    let path = format!("/v1/events/{}", answer["event_id"].as_str().unwrap());
    wait_until("the retry to be planned", || {
        let event = host.json(&path);
        if event["next_retry_at"].is_string() {
            Ok(())
        } else {
            Err(event.to_string())
        }
    });
    let began = std::time::Instant::now();
    host.stop();
    assert!(
        began.elapsed().as_secs() < 10,
        "it took {:?}",
        began.elapsed()
    );
    host.restart();
    assert_eq!(host.json(&path)["state"], "pending");
    assert_eq!(receiver.received().len(), 1);
}

#[test]
fn a_second_host_on_the_same_database_is_refused() {
    let mut host = Host::start("");
    host.folder
        .triage(&["serve"])
        .expect(1)
        .complains(&["triage.db is served by another triage process"]);
    host.accept(&Delivery::incident("first-host-lives"));
    host.kill();
    // A lock that outlives its process would keep an operator out.
    host.restart();
}

/// A host with a policy for incidents whose classifier computes for `cpu_ms`.
fn spinning_host(cpu_ms: u32) -> Host {
    let folder = Folder::new("");
    let spins = config::plugin("s", &folder.guest("s", &guest::classifier(guest::LOOP)));
    let policy = format!(
        "[[policy]]\nname = \"s\"\ntriggers = [\"*\"]\nclassifier = \"s\"\n[policy.limits]\ncpu_ms = {cpu_ms}\n"
    );
    folder.configure(&(config::integrations() + &spins + &policy));
    Host::start_in(folder)
}

/// Waits until a guest computes, and gives the run.
fn spinning(host: &Host) -> String {
    let answer = host.accept(&Delivery::incident("spinning"));
    wait_until("a guest that computes", || {
        match host.list("/v1/runs?state=running").first() {
            Some(_) => Ok(()),
            None => Err("no run is running".to_owned()),
        }
    });
    answer["run_id"].as_str().unwrap().to_owned()
}

/// The bytes of a delivery as HTTP/1.1 sends them.
fn request(delivery: &Delivery) -> (String, Vec<u8>) {
    let mut head = format!(
        "POST /v1/webhooks/{} HTTP/1.1\r\nhost: test\r\ncontent-length: {}\r\n",
        delivery.path,
        delivery.body.len()
    );
    for (name, value) in &delivery.headers {
        head += &format!("{name}: {value}\r\n");
    }
    (head + "\r\n", delivery.body.clone())
}

/// Reads one answer. `Err` where not a byte of it came; one that breaks off fails the test.
fn read_answer(stream: &mut TcpStream) -> Result<Value, String> {
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    loop {
        match stream.read(&mut piece) {
            Ok(length @ 1..) => answer.extend_from_slice(&piece[..length]),
            end => {
                let begun = String::from_utf8_lossy(&answer).into_owned();
                assert!(answer.is_empty(), "an answer broke off ({end:?}): {begun}");
                return Err(format!("{end:?}"));
            }
        }
        let text = String::from_utf8_lossy(&answer);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head
            .lines()
            .find_map(|it| it.strip_prefix("content-length: "))
            .map_or(0, |it| it.parse().unwrap());
        if length <= body.len() {
            assert!(head.starts_with("HTTP/1.1 200"), "{text}");
            return Ok(serde_json::from_str(body).unwrap());
        }
    }
}

#[test]
fn a_request_that_was_begun_before_the_stop_is_answered() {
    let mut host = Host::start("");
    let slow = Delivery::incident("slow");
    let (head, body) = request(&slow);
    let mut stream = TcpStream::connect(host.address()).unwrap();
    let (first, rest) = body.split_at(body.len() / 2);
    stream
        .write_all(&[head.as_bytes(), first].concat())
        .unwrap();
    // Answered on a later connection: the one before was taken by then.
    host.accept(&Delivery::incident("quick"));
    host.terminate();
    let address = host.address();
    wait_until("no new connections", || match TcpStream::connect(address) {
        Err(_) => Ok(()),
        Ok(_) => Err("still taken".to_owned()),
    });
    stream.write_all(rest).unwrap();
    let answer = read_answer(&mut stream).unwrap();
    host.stop();
    let kept = host.database().events();
    let event_id = answer["event_id"].as_str().unwrap();
    assert!(
        kept.values()
            .any(|it| event_id.trim_start_matches("evt_") == it.event_id)
    );
}

#[test]
fn a_kept_connection_gets_whole_answers_or_none_when_the_host_stops() {
    let mut host = Host::start(&config::desk());
    let address = host.address();
    let answered: Mutex<Vec<Value>> = Mutex::default();
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let answered = &answered;
            scope.spawn(move || {
                let mut stream = TcpStream::connect(address).unwrap();
                for number in 0.. {
                    let (head, body) =
                        request(&Delivery::incident(&format!("kept-{client}-{number}")));
                    if stream
                        .write_all(&[head.as_bytes(), &body].concat())
                        .is_err()
                    {
                        break;
                    }
                    match read_answer(&mut stream) {
                        Ok(answer) => answered.lock().unwrap().push(answer),
                        Err(_) => break,
                    }
                }
            });
        }
        wait_until("enough answers", || match answered.lock().unwrap().len() {
            count if ANSWERED_BEFORE <= count => Ok(()),
            count => Err(format!("{count} answers")),
        });
        host.stop();
    });
    let kept = host.database().events();
    for answer in answered.into_inner().unwrap() {
        let event_id = answer["event_id"].as_str().unwrap();
        assert!(
            kept.values()
                .any(|it| event_id.trim_start_matches("evt_") == it.event_id),
            "answered and gone: {answer}"
        );
    }
}

#[test]
fn a_stop_waits_for_a_guest_that_computes() {
    let mut host = spinning_host(2_000);
    let run_id = spinning(&host);
    host.stop();
    assert_eq!(
        host.database()
            .count("SELECT count(*) FROM run WHERE state = 'running'"),
        0
    );
    assert_eq!(
        host.database()
            .count("SELECT count(*) FROM attempt WHERE class = 'cpu_limit'"),
        1,
        "{run_id}"
    );
}

#[test]
fn a_second_signal_does_not_wait_and_loses_nothing() {
    let mut host = spinning_host(30_000);
    let run_id = spinning(&host);
    let began = std::time::Instant::now();
    host.terminate();
    wait_until("the first signal to be heard", || {
        match host.log().contains("stopping") {
            true => Ok(()),
            false => Err(host.log()),
        }
    });
    host.stop();
    assert!(began.elapsed().as_secs() < 10, "{:?}", began.elapsed());
    let host_config = std::fs::read_to_string(host.folder.path("triage.toml")).unwrap();
    host.folder
        .write("triage.toml", host_config.replace("30000", "20"));
    host.restart();
    wait_until("another attempt", || {
        let run = host.json(&format!("/v1/runs/{run_id}"));
        match run["attempts"].as_array().unwrap().last() {
            Some(attempt) if attempt["class"] == "cpu_limit" => Ok(()),
            _ => Err(run.to_string()),
        }
    });
}

#[test]
fn a_stop_while_a_configuration_is_taken_up_is_in_order() {
    for _ in 0..3 {
        let mut host = Host::start("");
        let kept = host.accept(&Delivery::incident("before"));
        host.folder
            .reconfigure(&(config::integrations() + &config::desk()));
        host.hang_up();
        host.stop();
        host.restart();
        assert_eq!(
            host.accept(&Delivery::incident("before"))["duplicate"],
            true
        );
        let path = format!("/v1/events/{}", kept["event_id"].as_str().unwrap());
        host.json(&path);
    }
}
