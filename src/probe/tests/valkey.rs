use super::*;

const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";
const REPLIES: &str = include_str!("../../../tests/fixtures/valkey/replies.txt");

async fn answering(reply: &str) -> Server {
    let reply = format!("{reply}\r\n").into_bytes();
    Server::start(vec![Act::Read(PING), Act::Write(reply), Act::Hang]).await
}

#[tokio::test]
async fn every_error_reply_is_alive_or_unknown() {
    let mut lines = 0;
    for line in REPLIES.lines().filter(|l| !l.starts_with('#')) {
        let (reply, meaning) = line.rsplit_once(" | ").expect("a meaning");
        let outcome = outcome("driver: valkey\n", &answering(reply).await).await;
        let alive = if outcome.alive { "alive" } else { "-" };
        let found = format!("{} {:?} {alive}", outcome.reason, outcome.answer);
        assert_eq!(found, meaning, "{reply}");
        lines += 1;
    }
    assert!(lines > 10);
}

#[tokio::test]
async fn a_server_that_answers_before_it_reads_and_closes_is_full() {
    let reply = b"-ERR max number of clients reached\r\n".to_vec();
    for _ in 0..50 {
        let server = Server::start(vec![Act::Write(reply.clone())]).await;
        let outcome = outcome("driver: valkey\n", &server).await;
        assert_eq!(short(&outcome), (Answer::NotReady, "MaxClients"));
    }
}

#[tokio::test]
async fn the_password_is_sent_first_and_never_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("u"), "ann\n").expect("writes");
    std::fs::write(folder.path().join("p"), "hunter2\n").expect("writes");
    let yaml = format!(
        "driver: valkey\nauth: {{usernameFile: {0}/u, passwordFile: {0}/p}}\n",
        folder.path().display()
    );
    let replies = b"+OK\r\n+PONG\r\n".to_vec();
    let server = Server::start(vec![Act::Read(PING), Act::Write(replies), Act::Hang]).await;
    assert_eq!(short(&outcome(&yaml, &server).await), (Answer::Ready, "Ready"));
    let auth = "*3\r\n$4\r\nAUTH\r\n$3\r\nann\r\n$7\r\nhunter2\r\n";
    assert_eq!(server.read(), format!("{auth}{}", String::from_utf8_lossy(PING)));

    // The real server answers both commands, the second by NOAUTH.
    let replies = b"-WRONGPASS invalid username-password pair or user is disabled.\r\n\
        -NOAUTH Authentication required.\r\n"
        .to_vec();
    let server = Server::start(vec![Act::Read(PING), Act::Write(replies), Act::Hang]).await;
    let outcome = outcome(&yaml, &server).await;
    assert_eq!(short(&outcome), (Answer::Unknown, "CredentialMissing"));
    assert!(outcome.message.contains("wrong") && !outcome.message.contains("hunter2"));
}

#[tokio::test]
async fn no_whole_reply_is_down() {
    let yaml = "driver: valkey\ntimeout: 200ms\n";
    for (acts, reason) in [
        (vec![], "Closed"),
        (vec![Act::Read(PING), Act::Write(b"+PO".to_vec())], "Closed"),
        (vec![Act::Read(PING), Act::Hang], "Timeout"),
        (vec![Act::Read(PING), Act::Write(b"+PONG".to_vec()), Act::Hang], "Timeout"),
    ] {
        let outcome = outcome(yaml, &Server::start(acts.clone()).await).await;
        assert_eq!(short(&outcome), (Answer::NotReady, reason), "{acts:?}");
        assert!(!outcome.alive);
    }
}

#[tokio::test]
async fn an_endless_line_is_cut() {
    let server = Server::start(vec![Act::WriteForEver(b"+PONG".repeat(100))]).await;
    let outcome = outcome("driver: valkey\n", &server).await;
    assert_eq!(short(&outcome), (Answer::Unknown, "AnswerTooLarge"));
}
