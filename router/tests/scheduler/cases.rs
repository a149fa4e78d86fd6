//! The cases of TGI's queue, and what this scheduler adds.

use std::time::{Duration, Instant};

use gristmill_router::event::{FinishReason, GenerationError, StreamEvent};
use gristmill_router::schedule::{Answer, Call, Capacity, Interrupt, Load, NewBatch, Policy, Scheduler};

use crate::shard::Shard;
use crate::{policy, request};

fn with_requests(policy: Policy, requests: &[(usize, u32)]) -> Scheduler {
    let mut scheduler = Scheduler::new(policy);
    for (prompt, max_new) in requests {
        scheduler.arrived(request(*prompt, *max_new), Instant::now());
    }
    scheduler
}

fn prefill(call: Option<Call>) -> (NewBatch, Option<Interrupt>) {
    match call {
        Some(Call::Prefill { new, interrupt, .. }) => (new, interrupt),
        other => panic!("expected a prefill: {other:?}"),
    }
}

fn ids(batch: &NewBatch) -> Vec<u64> {
    batch.requests.iter().map(|request| request.id).collect()
}

fn step(scheduler: &mut Scheduler, shard: &mut Shard) -> Option<Call> {
    let call = scheduler.next(Instant::now())?;
    let answer = shard.answer(call.clone());
    scheduler.answered(answer, Instant::now());
    Some(call)
}

#[test]
fn an_empty_queue_has_nothing_to_do() {
    assert_eq!(Scheduler::new(policy(16)).next(Instant::now()), None);
}

#[test]
fn ids_of_requests_and_batches_count_up() {
    let mut scheduler = with_requests(policy(16), &[(1, 1), (1, 1)]);
    let mut shard = Shard::new(policy(16));
    let (batch, interrupt) = prefill(step(&mut scheduler, &mut shard));
    assert_eq!((batch.id, ids(&batch), interrupt), (0, vec![0, 1], None));
    scheduler.arrived(request(1, 1), Instant::now());
    let (batch, _) = prefill(step(&mut scheduler, &mut shard));
    assert_eq!((batch.id, ids(&batch)), (1, vec![2]));
}

#[test]
fn the_batch_size_bounds_a_batch() {
    let mut scheduler = with_requests(Policy { max_batch_size: Some(1), ..policy(16) }, &[(1, 1), (1, 1)]);
    let (batch, _) = prefill(scheduler.next(Instant::now()));
    assert_eq!(ids(&batch), [0]);
    assert_eq!(scheduler.load().queued, 1);
}

#[test]
fn the_prefill_budget_bounds_a_batch() {
    let policy = Policy { max_batch_prefill_tokens: 3, ..policy(16) };
    let mut scheduler = with_requests(policy, &[(1, 1), (2, 1), (1, 1)]);
    let (batch, _) = prefill(scheduler.next(Instant::now()));
    assert_eq!(ids(&batch), [0, 1]);
}

#[test]
fn the_prefill_budget_is_rounded_up_to_whole_blocks() {
    let policy =
        Policy { max_batch_prefill_tokens: 5, block_size: 4, capacity: Capacity::Blocks(33), ..policy(0) };
    let mut scheduler = with_requests(policy, &[(4, 1), (4, 1), (1, 1)]);
    let (batch, _) = prefill(scheduler.next(Instant::now()));
    assert_eq!(ids(&batch), [0, 1]);
}

#[test]
fn the_cache_bounds_a_batch_and_nobody_overtakes() {
    let mut scheduler = with_requests(policy(10), &[(3, 4), (3, 3), (1, 1)]);
    let (batch, _) = prefill(scheduler.next(Instant::now()));
    assert_eq!(ids(&batch), [0], "the second needs 5 blocks of 4, and the third waits behind it");
    assert_eq!(scheduler.free_blocks(), Some(4));
}

#[test]
fn a_row_reserves_its_positions_and_speculation() {
    let policy = Policy { speculate: 2, capacity: Capacity::Blocks(9), block_size: 4, ..policy(0) };
    let mut scheduler = with_requests(policy, &[(5, 4)]);
    let (batch, _) = prefill(scheduler.next(Instant::now()));
    assert_eq!(batch.requests[0].blocks, [1, 2, 3]);
    assert_eq!(batch.requests[0].slots, [4, 5, 6, 7, 8, 9, 10, 11, 12, 13]);
    assert_eq!((batch.max_blocks, batch.max_tokens), (3, 10));
}

#[test]
fn padded_rows_are_as_long_as_the_longest() {
    let padded = |tokens| Policy { capacity: Capacity::PaddedTokens(tokens), ..policy(0) };
    let requests = [(1, 1), (3, 1)];
    let (batch, _) = prefill(with_requests(padded(8), &requests).next(Instant::now()));
    assert_eq!(ids(&batch), [0, 1]);
    let (batch, _) = prefill(with_requests(padded(7), &requests).next(Instant::now()));
    assert_eq!(ids(&batch), [0]);
    let speculating = Policy { speculate: 1, ..padded(8) };
    let (batch, _) = prefill(with_requests(speculating, &requests).next(Instant::now()));
    assert_eq!(ids(&batch), [0]);
}

#[test]
fn few_waiting_requests_do_not_interrupt_until_they_waited() {
    let policy = Policy { waiting_served_ratio: 1.0, max_waiting_tokens: 3, ..policy(1000) };
    let mut scheduler = with_requests(policy.clone(), &[(1, 100), (1, 100)]);
    let mut shard = Shard::new(policy);
    step(&mut scheduler, &mut shard);
    scheduler.arrived(request(1, 100), Instant::now());
    for _ in 0..2 {
        assert!(matches!(step(&mut scheduler, &mut shard), Some(Call::Decode { .. })));
    }
    let (batch, interrupt) = prefill(step(&mut scheduler, &mut shard));
    assert_eq!((ids(&batch), interrupt), (vec![2], Some(Interrupt::WaitExceeded)));
    match step(&mut scheduler, &mut shard) {
        Some(Call::Decode { batches }) => assert_eq!(batches.len(), 2, "both are decoded, and become one"),
        other => panic!("expected a decode: {other:?}"),
    }
}

#[test]
fn many_waiting_requests_interrupt_at_once() {
    let policy = Policy { waiting_served_ratio: 1.0, ..policy(1000) };
    let mut scheduler = with_requests(policy.clone(), &[(1, 100), (1, 100)]);
    let mut shard = Shard::new(policy);
    step(&mut scheduler, &mut shard);
    scheduler.arrived(request(1, 100), Instant::now());
    scheduler.arrived(request(1, 100), Instant::now());
    let (batch, interrupt) = prefill(step(&mut scheduler, &mut shard));
    assert_eq!((ids(&batch), interrupt), (vec![2, 3], Some(Interrupt::Backpressure)));
}

#[test]
fn too_few_that_fit_all_go_back_in_order() {
    let policy = Policy { waiting_served_ratio: 1.0, max_waiting_tokens: 100, ..policy(12) };
    let mut scheduler = with_requests(policy.clone(), &[(1, 4), (1, 4)]);
    let mut shard = Shard::new(policy);
    step(&mut scheduler, &mut shard);
    scheduler.arrived(request(1, 3), Instant::now());
    scheduler.arrived(request(1, 3), Instant::now());
    assert!(matches!(step(&mut scheduler, &mut shard), Some(Call::Decode { .. })), "only one of them fits");
    assert_eq!((scheduler.load().queued, scheduler.free_blocks()), (2, Some(4)));
    while !matches!(step(&mut scheduler, &mut shard), Some(Call::Clear { .. }) | None) {}
    while step(&mut scheduler, &mut shard).is_some() {}
    assert_eq!(shard.admitted_first, [0, 1, 2, 3]);
}

#[test]
fn chunking_cuts_the_last_prompt_and_joins_the_running_batch() {
    let policy = Policy { chunking: true, max_batch_prefill_tokens: 10, ..policy(1000) };
    let mut scheduler = with_requests(policy.clone(), &[(4, 50), (20, 5), (1, 1)]);
    let mut shard = Shard::new(policy);
    let (batch, interrupt) = prefill(step(&mut scheduler, &mut shard));
    assert_eq!((ids(&batch), interrupt), (vec![0, 1], None));
    assert_eq!(batch.requests[1].chunk_len, Some(6));
    let call = step(&mut scheduler, &mut shard);
    let Some(Call::Prefill { new, cached: Some(cached), interrupt }) = call else { panic!("{call:?}") };
    assert_eq!((ids(&new), cached.request_ids), (vec![2], vec![0, 1]));
    assert_eq!(interrupt, Some(Interrupt::Chunking));
}

#[test]
fn the_batch_size_also_bounds_a_join() {
    let policy = Policy { chunking: true, max_batch_size: Some(2), ..policy(1000) };
    let mut scheduler = with_requests(policy.clone(), &[(1, 50)]);
    let mut shard = Shard::new(policy);
    step(&mut scheduler, &mut shard);
    scheduler.arrived(request(1, 50), Instant::now());
    scheduler.arrived(request(1, 50), Instant::now());
    let (batch, _) = prefill(step(&mut scheduler, &mut shard));
    assert_eq!(ids(&batch), [1]);
    assert!(matches!(step(&mut scheduler, &mut shard), Some(Call::Decode { .. })));
}

#[test]
fn a_foreign_shard_gets_a_chunk_that_its_own_count_surely_covers() {
    let policy = Policy { chunking: true, ids: false, max_batch_prefill_tokens: 100, ..policy(3000) };
    let mut scheduler = with_requests(policy.clone(), &[(10, 1100)]);
    let mut shard = Shard::new(policy);
    let mut chunks = Vec::new();
    while let Some(call) = step(&mut scheduler, &mut shard) {
        if let Call::Prefill { new, .. } = call {
            chunks.push(new.requests[0].chunk_len);
        }
    }
    assert_eq!(chunks, [None, Some(5)]);
}

#[test]
fn without_chunking_what_could_not_be_resumed_is_reserved_whole() {
    let scheduler = |prefill| {
        let policy = Policy { max_batch_prefill_tokens: prefill, ..policy(3000) };
        let (batch, _) = prefill_of(policy);
        batch.requests[0].max_new_tokens
    };
    fn prefill_of(policy: Policy) -> (NewBatch, Option<Interrupt>) {
        prefill(with_requests(policy, &[(10, 2000)]).next(Instant::now()))
    }
    assert_eq!(scheduler(2009), 1024);
    assert_eq!(scheduler(2008), 2000);
}

#[test]
fn a_long_request_goes_on_at_the_head_of_the_queue() {
    let policy =
        Policy { chunking: true, max_batch_prefill_tokens: 2000, max_batch_size: Some(1), ..policy(3000) };
    let mut scheduler = with_requests(policy.clone(), &[(3, 1500), (1, 1)]);
    let mut shard = Shard::new(policy);
    let mut starts = Vec::new();
    while let Some(call) = step(&mut scheduler, &mut shard) {
        if let Call::Prefill { new, .. } = call {
            let first = &new.requests[0];
            starts.push((first.id, first.emitted, first.max_new_tokens, first.more));
        }
    }
    assert_eq!(starts, [(0, 0, 1024, true), (0, 1024, 476, false), (1, 0, 1, false)]);
}

#[test]
fn requests_whose_rounds_end_together_go_on_in_order() {
    let policy = Policy { chunking: true, max_batch_prefill_tokens: 2000, ..policy(3000) };
    let mut scheduler = with_requests(policy.clone(), &[(3, 1100), (3, 1100)]);
    let mut shard = Shard::new(policy);
    prefill(step(&mut scheduler, &mut shard));
    let next = std::iter::from_fn(|| step(&mut scheduler, &mut shard))
        .find(|call| matches!(call, Call::Prefill { .. }));
    assert_eq!(ids(&prefill(next).0), [0, 1]);
}

#[test]
fn an_end_token_at_the_end_of_a_round_ends_the_request() {
    let policy = Policy { chunking: true, ..policy(3000) };
    let mut scheduler = with_requests(policy.clone(), &[(3, 1500)]);
    let mut shard = Shard::new(policy);
    shard.eos.insert(0, 1024);
    let calls: Vec<Call> = std::iter::from_fn(|| step(&mut scheduler, &mut shard)).collect();
    assert_eq!(calls.iter().filter(|call| matches!(call, Call::Prefill { .. })).count(), 1);
    assert_eq!(scheduler.load().queued, 0);
}

#[test]
fn a_cancelled_request_leaves_the_queue_at_once() {
    let mut scheduler = with_requests(policy(16), &[(1, 1)]);
    scheduler.cancelled(0);
    assert_eq!((scheduler.load().queued, scheduler.next(Instant::now())), (0, None));
}

#[test]
fn cancelled_rows_are_filtered_before_anything_else() {
    let mut scheduler = with_requests(policy(16), &[(1, 5), (1, 5)]);
    let mut shard = Shard::new(policy(16));
    step(&mut scheduler, &mut shard);
    scheduler.cancelled(0);
    scheduler.arrived(request(1, 1), Instant::now());
    assert_eq!(step(&mut scheduler, &mut shard), Some(Call::Filter { batch: 0, keep: vec![1] }));
    scheduler.cancelled(1);
    assert_eq!(step(&mut scheduler, &mut shard), Some(Call::Clear { batch: 0 }));
    assert_eq!(ids(&prefill(scheduler.next(Instant::now())).0), [2]);
}

#[test]
fn a_failed_join_fails_everyone_and_clears_both_batches() {
    let policy = Policy { chunking: true, ..policy(100) };
    let mut scheduler = with_requests(policy.clone(), &[(1, 5)]);
    let mut shard = Shard::new(policy);
    step(&mut scheduler, &mut shard);
    scheduler.arrived(request(1, 5), Instant::now());
    prefill(scheduler.next(Instant::now()));
    let messages = scheduler.failed(&GenerationError::Shard("boom".to_owned()));
    let failed: Vec<u64> = messages.iter().filter(|message| message.event.is_err()).map(|m| m.id).collect();
    assert_eq!(failed, [1, 0]);
    let cleared: Vec<_> = std::iter::from_fn(|| step(&mut scheduler, &mut shard)).collect();
    assert_eq!(cleared, [Call::Clear { batch: 0 }, Call::Clear { batch: 1 }]);
    assert_eq!(scheduler.free_blocks(), Some(100));
}

#[test]
fn a_failed_prefill_beside_a_running_batch_leaves_that_alone() {
    let policy = Policy { max_waiting_tokens: 0, ..policy(100) };
    let mut scheduler = with_requests(policy.clone(), &[(1, 5)]);
    let mut shard = Shard::new(policy);
    step(&mut scheduler, &mut shard);
    scheduler.arrived(request(1, 5), Instant::now());
    prefill(scheduler.next(Instant::now()));
    let messages = scheduler.failed(&GenerationError::Shard("boom".to_owned()));
    assert_eq!(messages.iter().map(|message| message.id).collect::<Vec<_>>(), [1]);
    assert_eq!(step(&mut scheduler, &mut shard), Some(Call::Clear { batch: 1 }));
    assert!(matches!(step(&mut scheduler, &mut shard), Some(Call::Decode { .. })));
}

#[test]
fn a_row_that_the_shard_forgot_ends_with_an_error() {
    let mut scheduler = with_requests(policy(16), &[(1, 5)]);
    scheduler.next(Instant::now());
    let messages = scheduler.answered(Answer::default(), Instant::now());
    assert_eq!(messages[0].event, Err(GenerationError::Incomplete));
    assert_eq!((scheduler.load().running, scheduler.free_blocks()), (0, Some(16)));
}

#[test]
fn the_load_counts_what_is_out() {
    let policy = Policy { chunking: true, ..policy(100) };
    let mut scheduler = with_requests(policy.clone(), &[(2, 9)]);
    let mut shard = Shard::new(policy);
    let mut loads = Vec::new();
    for _ in 0..2 {
        let call = scheduler.next(Instant::now()).expect("a step");
        loads.push(scheduler.load());
        scheduler.answered(shard.answer(call), Instant::now());
        loads.push(scheduler.load());
    }
    assert_eq!(loads, [Load { queued: 0, running: 1, max_tokens: 10 }; 4]);
}

#[test]
fn times_run_from_arrival_over_the_first_prefill_to_the_end() {
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let mut scheduler = Scheduler::new(policy(16));
    let mut shard = Shard::new(policy(16));
    scheduler.arrived(request(1, 1), at(0));
    let call = scheduler.next(at(2)).expect("a prefill");
    let messages = scheduler.answered(shard.answer(call), at(5));
    let Ok(StreamEvent::Token { finish: Some(finish), .. }) = &messages[0].event else {
        panic!("{messages:?}")
    };
    assert_eq!((finish.queued.as_secs(), finish.inference.as_secs()), (2, 3));
    assert_eq!((finish.generated_tokens, finish.reason), (1, FinishReason::Length));
}
