//! The whole loop on a real engine, in its plainest form.

use std::time::Duration;

use crate::support::{Setup, Stack, docker};

const TWO: &str = r#"
services:
  db:
    image: homeostat-test/stand-ins:1
    command: ["listen", "8000"]
    healthcheck: {test: ["CMD", "/stand-ins", "healthcheck", "http://127.0.0.1:8000/health"], interval: 1s}
  web:
    image: homeostat-test/stand-ins:1
    command: ["listen", "8000"]
    depends_on: {db: {condition: service_healthy}}
"#;

#[test]
fn a_stack_comes_up_in_order_and_stays_up() {
    let mut stack = Stack::start("smoke", Setup { compose: TWO.into(), ..Setup::default() });
    stack.settle(Duration::from_secs(30));
    eprintln!("{:#?}", stack.history());
    docker(&["kill", &stack.container("web")]);
    std::thread::sleep(Duration::from_millis(300));
    stack.settle(Duration::from_secs(10));
    docker(&["rm", "-f", &stack.container("db")]);
    std::thread::sleep(Duration::from_millis(300));
    stack.settle(Duration::from_secs(20));
    eprintln!("{:#?}", stack.history());
    assert_eq!(stack.ids().len(), 2);
}
