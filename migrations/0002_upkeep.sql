-- What keeps footage, and what takes it out: locks, the order of deletion, files to be unlinked,
-- and the log of what happened.

-- A range of a camera's footage that is not to be deleted.
create table footage_lock (
    id         integer not null primary key,
    camera     integer not null references camera (id),
    start_us   integer not null,
    end_us     integer not null check (end_us > start_us),
    note       text    not null,
    created_us integer not null,
    created_by text    not null              -- a login, as it was then
) strict;

create index footage_lock_camera on footage_lock (camera, end_us);

-- Files whose rows are gone, inserted in the transaction that deletes the row; a row goes when its
-- file is unlinked and the folder is synced. No file named here becomes a segment again.
create table unlink (
    id      integer not null primary key autoincrement, -- in the order of deletion, never used again
    volume  integer not null references volume (id),
    path    text    not null,                -- relative to the volume
    segment integer not null,                -- its id, as the file says it too
    bytes   integer not null,
    unique (volume, path)
) strict;

-- What happened to the recorder. Ids are made by the recorder and grow with time.
create table event (
    id     integer not null primary key,
    at_us  integer not null,
    kind   text    not null,                 -- model::EventKind
    camera integer,                          -- null: of no camera; it may be gone
    stream integer,                          -- null: of no stream; it may be gone
    detail text    not null
) strict;

create index event_at on event (at_us, id);
create index event_camera on event (camera, at_us, id) where camera is not null;

-- Who changed what.
create table audit (
    id     integer not null primary key,
    at_us  integer not null,
    who    text    not null,                 -- a login
    origin text,                             -- the client's address; null: the command line
    action text    not null,                 -- camera.delete, lock.create …
    target text    not null,                 -- slug, id; empty: the recorder as a whole
    detail text    not null
) strict;

create index audit_at on audit (at_us, id);

-- The id in the marker file of a volume; null until footage of it is known.
alter table volume add column marker text;

-- A camera that is being deleted with its footage, in steps: null while it is not.
alter table camera add column doomed_us integer;
create index camera_doomed on camera (id) where doomed_us is not null;

-- How much closed footage each stream has on each volume; kept by the triggers below.
create table volume_use (
    stream   integer not null references stream (id) on delete cascade,
    volume   integer not null references volume (id),
    bytes    integer not null,
    segments integer not null,
    primary key (stream, volume)
) strict, without rowid;

insert into volume_use (stream, volume, bytes, segments)
select stream, volume, sum(bytes), count(*) from segment where closed = 1 group by stream, volume;

create trigger volume_use_insert after insert on segment when new.closed = 1 begin
    insert into volume_use (stream, volume, bytes, segments)
    values (new.stream, new.volume, new.bytes, 1)
    on conflict (stream, volume) do update
    set bytes = bytes + excluded.bytes, segments = segments + 1;
end;

create trigger volume_use_update after update of closed, bytes on segment begin
    insert into volume_use (stream, volume, bytes, segments)
    values (new.stream, new.volume, 0, 0)
    on conflict (stream, volume) do nothing;
    update volume_use
    set bytes = bytes + new.closed * new.bytes - old.closed * old.bytes,
        segments = segments + new.closed - old.closed
    where stream = new.stream and volume = new.volume;
end;

create trigger volume_use_delete after delete on segment when old.closed = 1 begin
    update volume_use
    set bytes = bytes - old.bytes, segments = segments - 1
    where stream = old.stream and volume = old.volume;
end;

-- The order in which footage goes: of a stream, and of a stream on one volume.
create index segment_age on segment (stream, epoch, start_us, id) where closed = 1;
create index segment_volume_age on segment (stream, volume, epoch, start_us, id) where closed = 1;

-- The segments of a run, by time: deletion asks for the neighbours of one.
drop index segment_run;
create index segment_run on segment (run, start_us, id);

-- The newest run of a stream, whatever the clock did.
create index run_epoch on run (stream, epoch, start_us);

-- The oldest gaps of a stream, whatever their lane.
create index gap_age on gap (stream, start_us);

-- Counts the changes of what is mirrored to the volumes (model::State).
create table state_generation (
    one        integer not null primary key check (one = 1),
    generation integer not null
) strict;

insert into state_generation (one, generation) values (1, 1);

-- Sums and marks that the recorder itself keeps are not part of it, or each segment would be a change.

create trigger state_camera_insert after insert on camera begin
    update state_generation set generation = generation + 1 where one = 1;
end;

create trigger state_camera_update after update on camera begin
    update state_generation set generation = generation + 1 where one = 1;
end;

create trigger state_camera_delete after delete on camera begin
    update state_generation set generation = generation + 1 where one = 1;
end;

create trigger state_footage_lock_insert after insert on footage_lock begin
    update state_generation set generation = generation + 1 where one = 1;
end;

create trigger state_footage_lock_update after update on footage_lock begin
    update state_generation set generation = generation + 1 where one = 1;
end;

create trigger state_footage_lock_delete after delete on footage_lock begin
    update state_generation set generation = generation + 1 where one = 1;
end;

create trigger state_user_insert after insert on user begin
    update state_generation set generation = generation + 1 where one = 1;
end;

create trigger state_user_update after update on user begin
    update state_generation set generation = generation + 1 where one = 1;
end;

create trigger state_user_delete after delete on user begin
    update state_generation set generation = generation + 1 where one = 1;
end;

create trigger state_token_insert after insert on token begin
    update state_generation set generation = generation + 1 where one = 1;
end;

create trigger state_token_update after update on token begin
    update state_generation set generation = generation + 1 where one = 1;
end;

create trigger state_token_delete after delete on token begin
    update state_generation set generation = generation + 1 where one = 1;
end;

create trigger state_stream_insert after insert on stream begin
    update state_generation set generation = generation + 1 where one = 1;
end;

create trigger state_stream_update after update of id, camera, role, url_sealed, transport, audio, record, own_retention,
        max_age_s, max_bytes, volume, created_us, hidden_us on stream begin
    update state_generation set generation = generation + 1 where one = 1;
end;

create trigger state_stream_delete after delete on stream begin
    update state_generation set generation = generation + 1 where one = 1;
end;
