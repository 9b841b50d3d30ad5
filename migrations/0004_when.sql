-- When a camera is recorded, beside its mode: hours and what surrounds events (model::When, JSON).
-- null: as unless told.
alter table camera add column when_json text;
