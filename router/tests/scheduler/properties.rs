//! Random traffic: whatever happens, memory is safe, budgets hold, and every stream ends once.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use gristmill_router::event::{FinishReason, GenerationError, StreamEvent};
use gristmill_router::schedule::{Capacity, Message, Policy, Scheduler};
use proptest::prelude::*;

use crate::request;
use crate::shard::{Shard, output, text};

#[derive(Clone, Debug)]
enum Event {
    Arrive {
        prompt: usize,
        max_new: u32,
        eos: Option<u32>,
    },
    /// Of one of the requests so far.
    Cancel(usize),
    Step,
    /// A step during which something else happens.
    StepMeanwhile(Box<Event>),
    FailedStep,
}

/// What a request has been told so far.
#[derive(Debug)]
struct Stream {
    max_new: u32,
    eos: Option<u32>,
    received: u32,
    cancelled: bool,
    ended: bool,
}

struct World {
    scheduler: Scheduler,
    shard: Shard,
    streams: HashMap<u64, Stream>,
    now: Instant,
}

impl World {
    fn new(policy: Policy, burst: u32) -> Self {
        let mut shard = Shard::new(policy.clone());
        shard.burst = burst;
        Self { scheduler: Scheduler::new(policy), shard, streams: HashMap::new(), now: Instant::now() }
    }

    fn apply(&mut self, event: &Event) {
        self.now += Duration::from_millis(1);
        match event {
            Event::Arrive { prompt, max_new, eos } => {
                let id = self.scheduler.arrived(request(*prompt, *max_new), self.now);
                self.shard.eos.extend(eos.map(|eos| (id, eos)));
                let stream =
                    Stream { max_new: *max_new, eos: *eos, received: 0, cancelled: false, ended: false };
                assert!(self.streams.insert(id, stream).is_none(), "ids are used once");
            }
            Event::Cancel(index) => {
                let id = *index as u64 % (self.streams.len() as u64).max(1);
                self.scheduler.cancelled(id);
                if let Some(stream) = self.streams.get_mut(&id) {
                    stream.cancelled = true;
                }
            }
            Event::Step => drop(self.step(None)),
            Event::StepMeanwhile(event) => drop(self.step(Some(event))),
            Event::FailedStep => self.fail(),
        }
    }

    /// Whether there was anything to do.
    fn step(&mut self, meanwhile: Option<&Event>) -> bool {
        let Some(call) = self.scheduler.next(self.now) else { return false };
        if let Some(event) = meanwhile {
            self.apply(event);
        }
        let answer = self.shard.answer(call);
        let messages = self.scheduler.answered(answer, self.now);
        self.receive(messages);
        true
    }

    fn fail(&mut self) {
        let Some(call) = self.scheduler.next(self.now) else { return };
        self.shard.fail(&call);
        let messages = self.scheduler.failed(&GenerationError::Shard("boom".to_owned()));
        self.receive(messages);
    }

    fn receive(&mut self, messages: Vec<Message>) {
        for Message { id, event } in messages {
            let stream = self.streams.get_mut(&id).expect("a known request");
            assert!(!stream.cancelled, "a cancelled request is not reported");
            assert!(!stream.ended, "a stream ends once");
            let Ok(event) = event else {
                stream.ended = true;
                continue;
            };
            let StreamEvent::Token { token, finish, .. } = event else { panic!("no prefill was asked for") };
            assert_eq!(token.id, output(id, stream.received), "no token is lost or doubled");
            stream.received += 1;
            let Some(finish) = finish else { continue };
            stream.ended = true;
            let expected = stream.eos.unwrap_or(u32::MAX).min(stream.max_new);
            assert_eq!(stream.received, expected);
            assert_eq!(finish.generated_tokens, expected);
            let full = expected == stream.max_new;
            assert_eq!(finish.reason, if full { FinishReason::Length } else { FinishReason::EosToken });
            let whole: String = (0..expected).map(|index| text(output(id, index))).collect();
            assert_eq!(finish.text, whole);
        }
    }

    /// Lets everything end, and looks at what is left.
    fn settle(&mut self) {
        let mut steps = 0;
        while self.step(None) {
            steps += 1;
            assert!(steps < 200_000, "no progress: {:?}", self.scheduler);
        }
        let load = self.scheduler.load();
        assert_eq!((load.queued, load.running, self.shard.holds()), (0, 0, 0));
        assert!(self.streams.values().all(|stream| stream.ended || stream.cancelled));
    }
}

fn arrival(longest: usize) -> impl Strategy<Value = Event> {
    let max_new = prop_oneof![8 => 1..40_u32, 1 => 1020..1030_u32, 1 => 2000..2100_u32];
    (1..=longest, max_new, proptest::option::weighted(0.3, 1..60_u32))
        .prop_map(|(prompt, max_new, eos)| Event::Arrive { prompt, max_new, eos })
}

fn event(longest: usize) -> impl Strategy<Value = Event> {
    let plain = prop_oneof![
        3 => arrival(longest),
        1 => any::<u16>().prop_map(|index| Event::Cancel(index.into())),
    ];
    prop_oneof![
        4 => plain.clone(),
        6 => Just(Event::Step),
        2 => plain.prop_map(|event| Event::StepMeanwhile(Box::new(event))),
        1 => Just(Event::FailedStep),
    ]
}

/// Longest prompt of the traffic, and a policy whose cache holds at least one of the largest requests.
fn policies() -> impl Strategy<Value = (usize, Policy)> {
    let size = prop_oneof![Just(1_u32), Just(4), Just(16)];
    let batch = proptest::option::of(1..6_usize);
    (size, 2100..4000_u32, 40..200_u32, batch, 0.0..2.0_f32, 0..5_usize, any::<[bool; 3]>(), 0..3_u32)
        .prop_map(
            |(
                block_size,
                tokens,
                prefill,
                max_batch_size,
                ratio,
                waiting,
                [chunking, ids, padded],
                speculate,
            )| {
                let padded = padded && !chunking;
                let capacity = if padded {
                    Capacity::PaddedTokens(tokens + 50)
                } else {
                    Capacity::Blocks((tokens + 40).div_ceil(block_size) + 2)
                };
                let policy = Policy {
                    capacity,
                    block_size,
                    max_batch_prefill_tokens: prefill,
                    max_batch_size,
                    waiting_served_ratio: ratio,
                    max_waiting_tokens: waiting,
                    speculate,
                    chunking,
                    ids,
                };
                (if chunking { 150 } else { 40 }.min(tokens as usize - 2100 + 40), policy)
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_traffic_is_served(
        ((longest, policy), burst, events) in (policies(), 1..4_u32).prop_flat_map(|(policy, burst)| {
            let events = proptest::collection::vec(event(policy.0), 1..120);
            (Just(policy), Just(burst), events)
        })
    ) {
        prop_assert!(policy.largest_total() >= longest as u32 + 2100);
        let mut world = World::new(policy.clone(), burst);
        for event in &events {
            world.apply(event);
        }
        world.settle();
        if let Capacity::Blocks(count) = policy.capacity {
            prop_assert_eq!(world.scheduler.free_blocks(), Some(count as usize - 1));
        }
        let admitted = &world.shard.admitted_first;
        prop_assert!(admitted.windows(2).all(|pair| pair[0] < pair[1]), "first come, first served");
    }
}
