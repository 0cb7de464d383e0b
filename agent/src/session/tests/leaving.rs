//! Of an agent that leaves: what it gives back, hands on and waits for.
//!
//! Floor: core.

use super::*;

#[test]
fn a_leaving_agent_gives_back_what_waits_and_ends_what_trains() {
    let mut session = training(3);
    let effects = session.step(leave(25_000), at(10));
    let hand_back = Effect::Send(FromAgent::HandBack { leases: vec![lease(3)] });
    assert_eq!(effects, [hand_back, offer(0)]);

    let effects = session.step(assign(4, 40), at(11));
    let hand_back = Effect::Send(FromAgent::HandBack { leases: vec![lease(4)] });
    assert_eq!(effects, [hand_back]);

    session.step(ended(1), at(12));
    let effects = session.step(ended(2), at(13));
    let spooled = Effect::Spool { reports: reports(2, 20) };
    assert_eq!(effects, [spooled, send_reports(reports(2, 20))]);
    session.step(acknowledge(attempts(1, 10)), at(14));
    let effects = session.step(acknowledge(attempts(2, 20)), at(15));
    assert_eq!(effects, [Effect::Forget { attempts: attempts(2, 20) }, Effect::Left]);
}

#[test]
fn what_still_trains_after_the_grace_time_is_stopped_and_given_back_unmarked() {
    let mut session = training(1);
    session.step(leave(1_000), at(10));
    assert_eq!(session.step(Input::Tick, at(999)), []);
    assert_eq!(
        session.step(Input::Tick, at(1_000)),
        [
            Effect::StopCohort { lease: lease(1) },
            Effect::Forget { attempts: attempts(1, 10) },
            Effect::Send(FromAgent::HandBack { leases: vec![lease(1)] }),
            Effect::Left
        ]
    );
    assert_eq!(session.step(stopped(1), at(1_001)), []);
}

#[test]
fn a_leaving_agent_that_lost_its_connection_waits_for_another_while_outcomes_are_unheard() {
    let mut session = training(1);
    session.steps([Input::Disconnected, leave(10_000)], at(10));
    let effects = session.step(ended(1), at(20));
    assert_eq!(effects, [Effect::Spool { reports: reports(1, 10) }]);
    assert_eq!(session.step(Input::Tick, at(5_000)), []);
    session.step(Input::Connected, at(5_001));
    let told = session.step(registered(Vec::new()), at(5_002));
    assert_eq!(told, [send_reports(reports(1, 10))]);
    let heard = session.step(acknowledge(attempts(1, 10)), at(5_003));
    assert_eq!(heard, [Effect::Forget { attempts: attempts(1, 10) }, Effect::Left]);
}

#[test]
fn what_is_to_be_given_back_is_given_back_over_the_next_connection() {
    let mut session = handing_on(3);
    session.steps([Input::Disconnected, leave(10_000)], at(0));
    let stop = |counter| Effect::StopCohort { lease: lease(counter) };
    assert_eq!(session.step(Input::Tick, at(5_000)), [stop(1), stop(2)]);
    session.step(stopped(1), at(5_001));
    let forgotten = [Effect::Forget { attempts: attempts(2, 20) }];
    assert_eq!(session.step(stopped(2), at(5_001)), forgotten);
    session.step(Input::Connected, at(6_000));
    let told = session.step(registered(Vec::new()), at(6_001));
    let hand_back = Effect::Send(FromAgent::HandBack { leases: vec![lease(3)] });
    assert_eq!(told, [hand_back, interrupted(&[1, 2], FailReason::Preempted), Effect::Left]);
}

#[test]
fn a_connection_is_waited_for_no_longer_than_there_is_time() {
    let mut session = training(1);
    session.steps([Input::Disconnected, leave(10_000)], at(10));
    session.step(ended(1), at(20));
    assert_eq!(session.step(Input::Tick, at(11_999)), []);
    assert_eq!(session.step(Input::Tick, at(12_000)), [Effect::Left]);
}

#[test]
fn where_nobody_will_hear_it_or_nothing_is_to_be_told_an_agent_leaves_at_once() {
    let mut never_reached = Session::new(about(), LIFE, 2, Vec::new(), reports(2, 20));
    assert_eq!(never_reached.step(leave(10_000), at(0)), [Effect::Left]);

    let mut silent = new();
    assert_eq!(silent.steps([Input::Disconnected, leave(10_000)], at(0)), [Effect::Left]);

    let mut abandoned = training(1);
    abandoned.step(ended(1), at(1));
    let effects = abandoned.steps([Input::Disconnected, Input::Abandoned, leave(2)], at(2));
    assert_eq!(effects, [Effect::Left]);
}

/// As [`training`], with a coordinator that takes checkpoints.
fn handing_on(count: u64) -> Session {
    let mut session = training(count);
    session.hears(Hears::all_or_little(true));
    session
}

fn hand_on(counter: u64, first: u64) -> Effect {
    let (lease, trials) = (lease(counter), trials(first));
    Effect::HandOn { lease, id: STUDY, study: study(), trials }
}

fn interrupted(leases: &[u64], why: FailReason) -> Effect {
    let leases = leases.iter().map(|&counter| lease(counter)).collect();
    Effect::Send(FromAgent::Interrupted { leases, why })
}

#[test]
fn what_trains_is_stopped_in_time_handed_on_and_only_then_given_back() {
    let mut session = handing_on(2);
    let why = FailReason::OutOfTime;
    session.step(Input::Leave { until: at(24_010), why }, at(10));
    assert_eq!(session.step(Input::Tick, at(19_009)), [renewal(&[1, 2])]);
    session.step(ended(2), at(19_009));
    session.step(acknowledge(attempts(2, 20)), at(19_009));
    let stop = Effect::StopCohort { lease: lease(1) };
    assert_eq!(session.step(Input::Tick, at(19_010)), [stop]);
    let stood = session.step(stopped(1), at(19_020));
    assert_eq!(stood, [Effect::Forget { attempts: attempts(1, 10) }, hand_on(1, 10)]);
    let renewed = session.step(Input::Tick, at(24_009));
    assert_eq!(renewed, [renewal(&[1])], "it is still held");
    let told = session.step(Input::HandedOn { lease: lease(1) }, at(24_009));
    assert_eq!(told, [interrupted(&[1], why), Effect::Left]);
}

#[test]
fn when_the_time_is_over_nothing_is_waited_for() {
    let mut session = handing_on(2);
    session.step(leave(10_000), at(0));
    session.step(Input::Tick, at(5_000));
    session.step(stopped(1), at(5_001));
    let effects = session.step(Input::Tick, at(10_000));
    assert_eq!(
        effects,
        [
            Effect::Forget { attempts: attempts(2, 20) },
            interrupted(&[2, 1], FailReason::Preempted),
            Effect::Left
        ],
        "one does not stand still, one is still on its way"
    );
    assert_eq!(session.step(Input::HandedOn { lease: lease(1) }, at(10_001)), []);
}

#[test]
fn a_lease_that_is_lost_while_its_agent_leaves_is_not_given_back() {
    let mut session = handing_on(2);
    session.step(leave(10_000), at(0));
    session.step(Input::Tick, at(5_000));
    session.step(stopped(1), at(5_001));
    session.step(Input::Message(ToAgent::Revoke { lease: lease(1) }), at(5_002));
    session.step(Input::Message(ToAgent::Revoke { lease: lease(2) }), at(5_002));
    assert_eq!(session.step(Input::HandedOn { lease: lease(1) }, at(5_003)), []);
    let effects = session.step(stopped(2), at(5_004));
    assert_eq!(effects, [Effect::Forget { attempts: attempts(2, 20) }, Effect::Left]);
}

#[test]
fn a_cohort_that_was_lost_and_has_not_stopped_leaves_no_marker_and_is_not_given_back() {
    let mut session = handing_on(2);
    session.step(leave(10_000), at(0));
    session.step(Input::Message(ToAgent::Revoke { lease: lease(2) }), at(1));
    session.step(Input::Tick, at(5_000));
    assert_eq!(
        session.step(Input::Tick, at(10_000)),
        [
            Effect::Forget { attempts: attempts(1, 10) },
            Effect::Forget { attempts: attempts(2, 20) },
            interrupted(&[1], FailReason::Preempted),
            Effect::Left
        ]
    );
}

#[test]
fn what_ended_with_its_agent_before_it_was_stopped_is_given_back() {
    let mut session = handing_on(1);
    session.step(leave(10_000), at(0));
    let stood = session.step(stopped(1), at(1));
    assert_eq!(stood, [Effect::Forget { attempts: attempts(1, 10) }, hand_on(1, 10)]);
    let told = session.step(Input::HandedOn { lease: lease(1) }, at(2));
    assert_eq!(told, [interrupted(&[1], FailReason::Preempted), Effect::Left]);
}
