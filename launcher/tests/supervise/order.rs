//! Who is started, told and ended, and in which order.

use std::time::Duration;

use super::house::House;

const GRACE: Duration = Duration::from_secs(60);

/// A shard that writes its files and ends only by a signal.
const SHARD: &str =
    "trap 'echo shard >> $HOUSE/ended; exit 0' TERM; touch $HOUSE/shard; while :; do sleep 0.01; done";
/// The same for a router.
const ROUTER: &str =
    "trap 'echo router >> $HOUSE/ended; exit 0' TERM; touch $HOUSE/router; while :; do sleep 0.01; done";
/// A router that notes the request to end, and goes on.
const DEAF_ROUTER: &str = "trap 'touch $HOUSE/asked' TERM; touch $HOUSE/router; while :; do sleep 0.01; done";

#[tokio::test]
async fn a_shard_that_ends_before_it_listens_cannot_start() {
    for (script, code) in [("exit 1", 1), ("exit 0", 1), ("exit 3", 3), ("exit 70", 70), ("kill -9 $$", 1)] {
        let failure = House::open().await.run(ROUTER, script, GRACE).await.unwrap_err();
        assert_eq!((failure.text.as_str(), failure.code), ("ShardCannotStart", code), "{script}");
    }
}

#[tokio::test]
async fn a_router_that_ends_takes_the_server_down() {
    let house = House::open().await;
    let failure = house.listening("exit 1", SHARD, GRACE).await.unwrap_err();
    assert_eq!((failure.text.as_str(), failure.code), ("WebserverFailed", 1));
    assert_eq!(house.ended(), ["shard"]);
}

#[tokio::test]
async fn a_shard_that_ends_takes_the_server_down() {
    let house = House::open().await;
    let shard = "touch $HOUSE/shard; until [ -e $HOUSE/router ]; do sleep 0.01; done; exit 4";
    let failure = house.listening(ROUTER, shard, GRACE).await.unwrap_err();
    assert_eq!((failure.text.as_str(), failure.code), ("ShardFailed", 4));
    assert_eq!(house.ended(), ["router"]);
    assert!(!house.path("socket-0").exists());
}

#[tokio::test]
async fn a_signal_ends_the_router_and_then_the_shard() {
    let house = House::open().await;
    house.stop_at(&["router"]);
    assert_eq!(house.listening(ROUTER, SHARD, GRACE).await, Ok(()));
    assert_eq!(house.ended(), ["router", "shard"]);
}

#[tokio::test]
async fn what_lingers_longer_than_the_grace_is_killed() {
    let house = House::open().await;
    house.stop_at(&["router"]);
    assert_eq!(house.listening(DEAF_ROUTER, SHARD, Duration::from_millis(20)).await, Ok(()));
    assert_eq!(house.ended(), ["shard"]);
}

#[tokio::test]
async fn a_second_signal_ends_the_grace() {
    let house = House::open().await;
    house.stop_at(&["router", "asked"]);
    assert_eq!(house.listening(DEAF_ROUTER, SHARD, GRACE).await, Ok(()));
    assert_eq!(house.ended(), ["shard"]);
}

#[tokio::test]
async fn a_signal_before_the_shard_is_ready_starts_no_router() {
    let house = House::open().await;
    house.stop_at(&["shard"]);
    assert_eq!(house.run("touch $HOUSE/router", SHARD, GRACE).await, Ok(()));
    assert_eq!(house.ended(), ["shard"]);
    assert!(!house.path("router").exists());
}

#[tokio::test]
async fn a_stale_socket_is_no_shard() {
    let house = House::open().await;
    drop(std::os::unix::net::UnixListener::bind(house.path("socket-0")).unwrap());
    let failure = house.run("touch $HOUSE/router", "exit 1", GRACE).await.unwrap_err();
    assert_eq!(failure.text, "ShardCannotStart");
    assert!(!house.path("router").exists() && !house.path("socket-0").exists());
}
