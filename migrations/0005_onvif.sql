-- Where a camera answers ONVIF, as JSON; null: it is not asked.
alter table camera add column onvif_json text;
