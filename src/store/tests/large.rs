use super::*;
use std::time::Instant as I;

#[tokio::test]
#[ignore = "measures"]
async fn large() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    for n in 0..500 {
        store.insert_camera(camera(&format!("c{n}"), &[Role::Main])).await.unwrap();
    }
    let fill = store.writer.write("fill", |db| Box::pin(async move {
        for sql in [
            "insert into volume (id, path) values (1, '/footage')",
            "insert into codecs (id, names) values (1, 'avc1')",
            "insert into run (stream, lane, start_us, id, epoch, end_us) select id, 0, 1795341600000000, id, 0, 1795341600000000 + 2000*60000000 from stream",
            "with recursive n(i) as (select 0 union all select i+1 from n where i < 1999)
             insert into segment select stream.id, 1795341600000000 + i*60000000, abs(random()), stream.id, 0, i, 1795341600000000 + (i+1)*60000000, 1, 1, 'door/main/2026-11-22/10/00-00.000Z.' || i || '.mp4', 1, 30000000, 0, x'0102030405060708'
             from stream cross join n",
            "insert into segment_keys select id, randomblob(300) from segment",
        ] {
            let at = I::now();
            sqlx::query(sql).execute(&mut *db).await.map_err(failed("fill"))?;
            println!("{:?} {}", at.elapsed(), &sql[..40]);
        }
        Ok(())
    }));
    fill.await.unwrap();
    let at = I::now();
    store.close().await;
    println!(
        "close {:?} {} MB",
        at.elapsed(),
        std::fs::metadata(fixture.path()).unwrap().len() >> 20
    );
    let at = I::now();
    let store =
        Store::open(&fixture.path(), fixture.clock.clone(), fixture.sealer.clone()).await.unwrap();
    println!("open {:?}", at.elapsed());
    let at = I::now();
    let heads = store.oldest_on_volume("/footage").await.unwrap();
    println!("heads {} {:?}", heads.len(), at.elapsed());
    let at = I::now();
    let used = store.volume_use().await.unwrap();
    println!("use {} {:?}", used.len(), at.elapsed());
    let at = I::now();
    println!("streams {} {:?}", store.footage_streams().await.unwrap().len(), at.elapsed());
    let stream = heads[0].stream;
    let at = I::now();
    let oldest = store.oldest_segments(stream, None, 100).await.unwrap();
    println!("oldest 100 {} {:?}", oldest.len(), at.elapsed());
    let ids: Vec<_> =
        store.oldest_segments(stream, None, 640).await.unwrap().iter().map(|c| c.id()).collect();
    let at = I::now();
    let done = store.delete_segments(&ids).await.unwrap();
    println!("delete {} {:?}", done.deleted.len(), at.elapsed());
    let island: Vec<_> = store.oldest_segments(stream, None, 1200).await.unwrap();
    let at = I::now();
    store.delete_segments(&[island[1199].id()]).await.unwrap();
    println!("split off 1199 {:?}", at.elapsed());
    let at = I::now();
    let camera = store.cameras().await.unwrap()[5].id;
    store.delete_camera(camera, false).await.unwrap();
    println!("delete a camera of 2000 segments {:?}", at.elapsed());
    let at = I::now();
    let bytes = store.backup(&fixture.dir.path().join("copy.db")).await.unwrap();
    println!("backup {} MB {:?}", bytes >> 20, at.elapsed());
    let rows = 10_000;
    let stream = store.footage_streams().await.unwrap()[20].stream;
    let at = I::now();
    for chunk in (0..rows).collect::<Vec<_>>().chunks(500) {
        let segments = chunk
            .iter()
            .map(|&n| crate::model::WholeSegment {
                opened: segment(stream, RunId(77), 1_000_000_000 + n, after(-2_000_000 + n * 60)),
                closed: deleting::closed(1_000_000_000 + n, -2_000_000 + n * 60 + 60),
            })
            .collect();
        let runs = vec![RunRow {
            id: RunId(77),
            stream,
            epoch: 1,
            start: after(-2_000_000),
            end: Some(after(-2_000_000 + rows * 60)),
        }];
        store.import(crate::model::Import { runs, segments, gaps: vec![] }).await.unwrap();
    }
    println!("import 10000 {:?}", at.elapsed());
    store.close().await;
}
