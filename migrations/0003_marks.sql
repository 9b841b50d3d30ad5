-- Marks on the timeline, made by people and devices: a door opened, somebody saw something.
create table mark (
    id       integer not null primary key,  -- made by the recorder; ids grow with time
    camera   integer not null,              -- it may be gone
    start_us integer not null,
    end_us   integer check (end_us >= start_us), -- null: a moment
    kind     text    not null,              -- its maker's word
    note     text    not null,
    source   text    not null               -- who says so
) strict;

-- No mark is longer than MAX_MARK (store/mark.rs), so a range query looks back no further.
create index mark_start on mark (start_us, id);
create index mark_camera on mark (camera, start_us, id);
