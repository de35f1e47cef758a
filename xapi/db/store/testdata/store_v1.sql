-- A store as schema version 1 wrote it: two VMs, the second one still in the log's order only.
PRAGMA journal_mode=WAL;
PRAGMA application_id=1112755284;
PRAGMA user_version=1;
CREATE TABLE meta(key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE rows(class TEXT NOT NULL, ref TEXT NOT NULL, generation INTEGER NOT NULL,
                  json TEXT NOT NULL, PRIMARY KEY(class, ref));
CREATE TABLE commits(generation INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, value TEXT NOT NULL);
INSERT INTO meta VALUES('epoch', 1), ('reserved', 5000), ('store_id', 77);
INSERT INTO rows VALUES
  ('VM', 'b0000000-0000-4000-8000-000000000002', 42,
   '{"uuid":"b1000000-0000-4000-8000-000000000002","name_label":"second","is_a_template":false}'),
  ('VM', 'f0000000-0000-4000-8000-000000000001', 41,
   '{"uuid":"f1000000-0000-4000-8000-000000000001","name_label":"first","gone_field":"kept"}');
