-- Which certificate a camera behind rtsps must show (model::Trust, JSON); null: one that an authority
-- of the system stands for.
alter table camera add column tls_json text;
