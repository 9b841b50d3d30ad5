use super::{deleting::lock, *};
use crate::{
    id::{AuditId, EventId, LockId},
    model::{Audit, Event, EventKind},
};

fn event(id: i64, at: i64, camera: Option<CameraId>) -> Event {
    Event {
        id: EventId(id),
        at: after(at),
        kind: EventKind::VolumeLost,
        camera,
        stream: None,
        detail: format!("number {id}"),
    }
}

#[tokio::test]
async fn events_come_newest_first_in_pages_of_all_cameras_or_one_and_go_by_age() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    let door = Some(CameraId(5));
    for (id, at) in [(1, 10), (2, 20), (3, 20), (4, 30)] {
        let camera = if id % 2 == 0 { door } else { None };
        store.insert_events(vec![event(id, at, camera)]).await.unwrap();
        store.insert_events(vec![event(id, at, camera)]).await.unwrap();
    }
    let range = after(10)..after(30);
    let first = store.events_page(None, range.clone(), None, 2).await.unwrap();
    assert_eq!(first, [event(3, 20, None), event(2, 20, door)]);
    let cursor = Some((first[1].at, first[1].id));
    let second = store.events_page(None, range, cursor, 2).await.unwrap();
    assert_eq!(second, [event(1, 10, None)]);
    let all = after(0)..after(99);
    let of = store.events_page(door, all.clone(), None, 9).await.unwrap();
    assert_eq!(of, [event(4, 30, door), event(2, 20, door)]);
    assert_eq!(store.prune_events(after(20)).await.unwrap(), 1);
    assert_eq!(store.events_page(None, all, None, 9).await.unwrap().len(), 3);
}

#[tokio::test]
async fn changes_are_noted_listed_and_pruned_in_small_steps() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    let audit = |id: i64| Audit {
        id: AuditId(id),
        at: after(id),
        who: "admin".into(),
        origin: Some("192.0.2.7".into()),
        action: "lock.delete".into(),
        target: "door".into(),
        detail: String::new(),
    };
    let notes = (0..600).map(|id| store.insert_audit(audit(id)));
    for noted in futures_util::future::join_all(notes).await {
        noted.unwrap();
    }
    let page = store.audit_page(after(0)..after(999), None, 2).await.unwrap();
    assert_eq!(page, [audit(599), audit(598)]);
    let cursor = Some((page[1].at, page[1].id));
    let next = store.audit_page(after(0)..after(999), cursor, 1).await.unwrap();
    assert_eq!(next, [audit(597)]);
    assert_eq!(store.prune_audit(after(590)).await.unwrap(), 590);
    assert_eq!(store.audit_page(after(0)..after(999), None, 99).await.unwrap().len(), 10);
}

#[tokio::test]
async fn locks_are_listed_in_pages_and_by_range_and_refused_where_they_make_no_sense() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    let door = store.insert_camera(camera("door", &[Role::Main])).await.unwrap();
    let gate = store.insert_camera(camera("gate", &[Role::Main])).await.unwrap();
    for (id, camera, from, to) in
        [(1, door.id, 50, 60), (2, gate.id, 0, 99), (3, door.id, 0, 20), (4, door.id, 10, 30)]
    {
        store.insert_lock(lock(id, camera, from, to)).await.unwrap();
    }
    let ids = |locks: Vec<crate::model::Lock>| locks.iter().map(|l| l.id.0).collect::<Vec<_>>();
    assert_eq!(ids(store.locks_page(None, None, 3).await.unwrap()), [1, 2, 3]);
    assert_eq!(ids(store.locks_page(None, Some(LockId(3)), 3).await.unwrap()), [4]);
    assert_eq!(ids(store.locks_page(Some(door.id), Some(LockId(1)), 9).await.unwrap()), [3, 4]);
    let overlapping = store.locks_overlapping(door.id, after(19)..after(50), 9).await.unwrap();
    assert_eq!(ids(overlapping), [3, 4], "what only touches does not overlap");
    assert_eq!(store.lock(LockId(2)).await.unwrap(), Some(lock(2, gate.id, 0, 99)));

    let taken = store.insert_lock(lock(1, gate.id, 0, 9)).await;
    assert!(matches!(taken, Err(StoreError::Conflict("lock"))), "{taken:?}");
    let empty = store.insert_lock(lock(9, gate.id, 9, 9)).await;
    assert!(matches!(empty, Err(StoreError::Conflict("lock"))), "{empty:?}");
    let unknown = store.insert_lock(lock(9, CameraId(404), 0, 9)).await;
    assert!(matches!(unknown, Err(StoreError::NotFound("camera"))), "{unknown:?}");
    assert_eq!(store.delete_lock(LockId(404)).await.unwrap(), None);
}
