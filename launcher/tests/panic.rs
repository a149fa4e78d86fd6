//! A panic in any thread ends the process with exit code 70.

use std::process::Command;

#[test]
fn a_panic_in_a_thread_ends_the_process() {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "panics_in_a_thread_that_nobody_joins"])
        .output()
        .unwrap();
    assert_eq!(child.status.code(), Some(70), "{child:?}");
}

#[test]
#[ignore = "only as the child of the test above"]
fn panics_in_a_thread_that_nobody_joins() {
    gristmill_launcher::bug::end_process_on_panic();
    std::thread::spawn(|| panic!("on purpose"));
    std::thread::park();
}
