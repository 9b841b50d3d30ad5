-- Who begins: we (pull), or the camera (publish; publish_take_over: a later one replaces it).
alter table camera add column source text not null default 'pull'
    check (source in ('pull', 'publish', 'publish_take_over'));
