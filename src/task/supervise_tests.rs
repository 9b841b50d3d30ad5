//! With a paused clock: what takes five minutes takes no time.

use std::sync::{
    Mutex,
    atomic::{AtomicU32, Ordering},
};

use super::*;

#[derive(Debug, thiserror::Error)]
#[error("try {0}")]
struct Failed(u32, Retry);

impl Failure for Failed {
    fn retry(&self) -> Retry {
        self.1
    }

    fn reason(&self) -> GapReason {
        GapReason::Unreachable
    }
}

/// Runs `attempt` under supervision for `span` and returns when each attempt began.
async fn begun<F>(
    span: Duration,
    attempt: impl Fn(u32, Attempt) -> F + Send + Sync + 'static,
) -> Vec<f64>
where
    F: Future<Output = Result<(), Failed>> + Send + 'static,
{
    let begun = Arc::new(Mutex::new(Vec::new()));
    let token = CancellationToken::new();
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    let (seen, stop, count) = (Arc::clone(&begun), token.clone(), AtomicU32::new(0));
    tasks.spawn(supervise(Policy::CAMERA, watch::Sender::new(stopped()), stop, move |context| {
        seen.lock().unwrap().push(start.elapsed().as_secs_f64());
        attempt(count.fetch_add(1, Ordering::SeqCst), context)
    }));
    sleep(span).await;
    token.cancel();
    tasks.join_next().await.unwrap().unwrap();
    let begun = begun.lock().unwrap();
    begun.clone()
}

fn stopped() -> Health {
    Health::Stopped { since: Instant::now() }
}

#[tokio::test(start_paused = true)]
async fn a_camera_that_is_gone_is_tried_every_second_and_later_every_half_minute() {
    let begun =
        begun(Duration::from_secs(900), |n, _| async move { Err(Failed(n, Retry::Soon)) }).await;
    let gaps: Vec<_> = begun.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let young = begun.iter().filter(|at| **at < 300.0).count();
    assert!((230..=430).contains(&young), "{young} attempts in five minutes");
    assert!(gaps[..young - 1].iter().all(|gap| (0.69..=1.31).contains(gap)));
    assert!((20.9..=39.1).contains(gaps.last().unwrap()), "{gaps:?}");
}

#[tokio::test(start_paused = true)]
async fn a_connect_time_out_is_not_added_to_the_wait() {
    let begun = begun(Duration::from_secs(20), |n, _| async move {
        sleep(Duration::from_secs(2)).await;
        Err(Failed(n, Retry::Soon))
    })
    .await;
    assert!(begun.windows(2).all(|pair| (2.0..2.2).contains(&(pair[1] - pair[0]))), "{begun:?}");
}

#[tokio::test(start_paused = true)]
async fn only_an_attempt_that_worked_for_long_starts_the_back_off_over() {
    let begun = begun(Duration::from_secs(500), |n, context| async move {
        let worked = [0, 3, 60].get(n as usize).copied().unwrap_or(0);
        if worked > 0 {
            context.works();
            sleep(Duration::from_secs(worked)).await;
        }
        Err(Failed(n, Retry::Slow))
    })
    .await;
    let gap = |n: usize| begun[n + 1] - begun[n];
    assert!((42.0..=78.0).contains(&gap(0)), "{}", gap(0));
    assert!((84.0..=156.0).contains(&gap(1)), "3 s are no recovery: {}", gap(1));
    assert!((60.0..=78.0).contains(&gap(2)), "a minute is one: {}", gap(2));
}

#[tokio::test(start_paused = true)]
async fn after_an_attempt_that_worked_the_next_comes_at_once_and_the_wait_is_short_again() {
    let begun = begun(Duration::from_secs(700), |n, context| async move {
        if n == 300 {
            context.works();
            sleep(Duration::from_secs(60)).await;
        }
        Err(Failed(n, Retry::Soon))
    })
    .await;
    let gap = |n: usize| begun[n + 1] - begun[n];
    assert!((60.0..60.2).contains(&gap(300)), "{}", gap(300));
    assert!((0.69..1.31).contains(&gap(301)));
}

#[tokio::test(start_paused = true)]
async fn a_panic_costs_one_attempt_and_is_called_internal() {
    let token = CancellationToken::new();
    let health = watch::Sender::new(stopped());
    let mut seen = health.subscribe();
    let mut tasks = JoinSet::new();
    let stop = token.clone();
    let mut count = 0;
    tasks.spawn(supervise(Policy::CAMERA, health, stop, move |context| {
        count += 1;
        let first = count == 1;
        async move {
            assert!(!first, "a parser met what it did not expect");
            context.works();
            context.stop().cancelled().await;
            Ok::<(), Failed>(())
        }
    }));
    let failed = seen.wait_for(|h| matches!(h, Health::BackingOff { .. })).await.unwrap().clone();
    let Health::BackingOff { last, .. } = failed else { unreachable!() };
    assert_eq!(last.reason, GapReason::Internal);
    seen.wait_for(|h| matches!(h, Health::Working { .. })).await.unwrap();
    token.cancel();
    tasks.join_next().await.unwrap().unwrap();
    assert!(matches!(*seen.borrow(), Health::Stopped { .. }));
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_does_not_stop_is_aborted_in_time() {
    let token = CancellationToken::new();
    let mut tasks = JoinSet::new();
    let health = watch::Sender::new(stopped());
    let mut seen = health.subscribe();
    tasks.spawn(supervise(Policy::CAMERA, health, token.clone(), |context| async move {
        context.works();
        std::future::pending::<Result<(), Failed>>().await
    }));
    seen.wait_for(|h| matches!(h, Health::Working { .. })).await.unwrap();
    let asked = Instant::now();
    token.cancel();
    tasks.join_next().await.unwrap().unwrap();
    assert_eq!(asked.elapsed().as_secs(), Policy::CAMERA.stop_within.as_secs());
}

#[tokio::test(start_paused = true)]
async fn no_more_connects_than_places_are_in_flight() {
    let connects = Connects::new(2);
    let mut tasks = JoinSet::new();
    let most = Arc::new(Mutex::new((0, 0)));
    for _ in 0..10 {
        let (connects, most) = (connects.clone(), Arc::clone(&most));
        tasks.spawn(async move {
            let _permit = connects.permit().await;
            {
                let mut most = most.lock().unwrap();
                most.0 += 1;
                most.1 = most.1.max(most.0);
            }
            sleep(Duration::from_secs(1)).await;
            most.lock().unwrap().0 -= 1;
        });
    }
    while tasks.join_next().await.is_some() {}
    assert_eq!(*most.lock().unwrap(), (0, 2));
}
