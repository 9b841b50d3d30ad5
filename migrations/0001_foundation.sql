-- The index: what lies on the volumes, and how the recorder is set up.
--
-- Units are in the names. `_us` is UTC in microseconds since 1970, or a length in microseconds;
-- `_s` whole seconds; `_ticks` units of a track's own clock. A time that may be null says what
-- null means. Ids are made by the recorder (they also stand in the files), never by SQLite.
--
-- The files are the truth: everything about footage here can be built again from them.

-- Single values: the key check, the epoch, the recorder's id.
create table meta (
    key   text not null primary key,
    value text not null
) strict, without rowid;

-- A device. Its row outlives its deletion while footage of it is kept, so that a camera of the
-- same slug made later adopts the footage.
create table camera (
    id              integer not null primary key,
    slug            text    not null unique,     -- also among deleted ones
    name            text    not null,
    enabled         integer not null check (enabled in (0, 1)),
    username        text,                        -- null: none needed
    password_sealed blob,                        -- seal.rs, context "camera <id in hex>"; null: none
    record          text    not null,            -- always | never
    max_age_s       integer,                     -- null: no limit
    max_bytes       integer,                     -- null: no limit
    volume          text,                        -- null: any
    created_us      integer not null,
    updated_us      integer not null,
    deleted_us      integer                      -- null while it is configured
) strict;

-- One stream of a camera. A role that is taken out keeps its row, hidden, for its footage.
create table stream (
    id              integer not null primary key,
    camera          integer not null references camera (id),
    role            text    not null,            -- main | sub
    url_sealed      blob    not null,            -- seal.rs, context "address of <camera id in hex>": a query may hold a password
    transport       text    not null,            -- auto | tcp | udp
    audio           integer not null check (audio in (0, 1)),
    record          text,                        -- null: as the camera
    own_retention   integer not null check (own_retention in (0, 1)), -- 0: as the camera
    max_age_s       integer,
    max_bytes       integer,
    volume          text,                        -- null: as the camera
    created_us      integer not null,            -- footage is expected from here on
    hidden_us       integer,                     -- null while it is configured
    -- Sum of `bytes` over its closed segments; kept by the triggers below.
    closed_bytes    integer not null default 0,
    unique (camera, role)
) strict;

-- Footage of one stream without a gap.
--
-- `lane` makes overlap queries cheap: within one lane of a stream, runs never overlap, so the
-- one that reaches into a range from before is found by one step back in the index. There is
-- one lane until the clock steps back (FORMAT.md: epochs); the store chooses the lane.
create table run (
    stream    integer not null references stream (id),
    lane      integer not null,
    start_us  integer not null,
    id        integer not null unique,
    epoch     integer not null,
    end_us    integer check (end_us >= start_us), -- null while it is being recorded
    primary key (stream, lane, start_us, id)
) strict, without rowid;

-- Runs being recorded; after a crash also those that recovery has to end.
create index run_lasting on run (stream) where end_us is null;

-- Time without footage, and why. Lanes as in `run`.
create table gap (
    stream    integer not null references stream (id),
    lane      integer not null,
    start_us  integer not null,
    end_us    integer check (end_us > start_us),  -- null while it lasts
    reason    text    not null,                   -- proto/reason.rs
    primary key (stream, lane, start_us)
) strict, without rowid;

-- A stream has at most one gap that lasts.
create unique index gap_lasting on gap (stream) where end_us is null;

-- Root folders of volumes, said once and not in each of millions of rows.
create table volume (
    id   integer not null primary key,
    path text    not null unique
) strict;

-- RFC 6381 names of a segment's tracks, joined by commas.
create table codecs (
    id    integer not null primary key,
    names text    not null unique
) strict;

-- A segment file. Rows lie in the order in which playback and timeline read them.
--
-- No segment is longer than MAX_SEGMENT (store/segment.rs), so an overlap query need not look
-- further back than that.
create table segment (
    stream       integer not null references stream (id),
    start_us     integer not null,
    id           integer not null unique,
    run          integer not null references run (id),
    epoch        integer not null,
    sequence     integer not null,                -- number in its run, from 0
    end_us       integer not null check (end_us >= start_us), -- while open: as start_us
    closed       integer not null check (closed in (0, 1)),
    volume       integer not null references volume (id),
    path         text    not null,                -- relative to the volume
    codecs       integer not null references codecs (id),
    bytes        integer not null,                -- of the file; 0 while open
    damaged      integer not null,                -- units dropped because they came damaged
    track_starts blob    not null,                -- a few bytes a track: store/packed.rs
    primary key (stream, start_us, id)
) strict, without rowid;

-- What start-up recovery has to complete.
create index segment_open on segment (stream) where closed = 0;

-- The segments of a run, in order.
create index segment_run on segment (run, sequence);

-- Key frames of a closed segment, apart so that `segment` rows stay small.
create table segment_keys (
    segment integer not null primary key references segment (id) on delete cascade,
    keys    blob    not null                      -- store/packed.rs
) strict;

-- What a closed segment holds of each track.
create table segment_track (
    segment        integer not null references segment (id) on delete cascade,
    track          integer not null,              -- from 0, in the file's order
    samples        integer not null,
    sync_samples   integer not null,
    bytes          integer not null,
    duration_ticks integer not null,
    stts_runs      integer not null,
    ctts_runs      integer not null,
    primary key (segment, track)
) strict, without rowid;

create trigger segment_closed_insert after insert on segment when new.closed = 1 begin
    update stream set closed_bytes = closed_bytes + new.bytes where id = new.stream;
end;

create trigger segment_closed_update after update of closed, bytes on segment begin
    update stream
    set closed_bytes = closed_bytes + new.closed * new.bytes - old.closed * old.bytes
    where id = new.stream;
end;

create trigger segment_closed_delete after delete on segment when old.closed = 1 begin
    update stream set closed_bytes = closed_bytes - old.bytes where id = old.stream;
end;

-- An account.
create table user (
    id            integer not null primary key,
    name          text    not null unique,
    role          text    not null,               -- admin | operator | viewer
    password_hash text    not null,               -- Argon2id, PHC form
    digest_sealed blob    not null                -- seal.rs, context "user <name>"
) strict;

-- A bearer token. Its text is shown once and kept nowhere.
create table token (
    id         integer not null primary key,
    user       integer not null references user (id) on delete cascade,
    name       text    not null,
    hash       blob    not null unique check (length(hash) = 32), -- SHA-256 of the text
    expires_us integer,                           -- null: never
    created_us integer not null
) strict;

create index token_user on token (user);
